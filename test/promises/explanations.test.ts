import { expect, test } from 'vitest'
import type { Loose } from '../support/api.ts'
import { freshDatabase, onPostgres, openApp, type TestApp } from '../support/app.ts'
import { scaleOf } from '../support/scale.ts'

const { size: CASES, seed: SEED } = scaleOf('explanations')
const ROUNDS = 10
const CONCURRENCY = 16

/** Makes a generator of pseudo-random choices (mulberry32). The same seed gives the same choices. */
function seeded(seed: number) {
  let state = seed
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
  return {
    next,
    below: (count: number) => Math.floor(next() * count),
    one: <T>(of: readonly T[]) => of[Math.floor(next() * of.length)] as T,
  }
}

type Served = { user: string; experiment: number; attributes: object; at: string; variant: number | null }

onPostgres('an explanation from another process', () => {
  test(`agrees with the served decision in ${CASES} random cases, present and past`, async () => {
    const environment = await freshDatabase('postgres')
    const [one, other] = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const random = seeded(SEED)
    const experiments = await manyExperiments(one)
    const served: Served[] = []
    for (let round = 0; round < ROUNDS; round++) {
      if (round > 0) await changeSomething(one, experiments, random)
      for (let asked = 0; asked < CASES / ROUNDS; asked += CONCURRENCY)
        served.push(...(await serve(one, experiments, random, Math.min(CONCURRENCY, CASES / ROUNDS - asked))))
    }
    const outcomes: Record<string, number> = {}
    for (let index = 0; index < served.length; index += CONCURRENCY)
      await Promise.all(
        served.slice(index, index + CONCURRENCY).map(async ({ user, experiment, attributes, at, variant }) => {
          const path = `/api/experiments/${experiment}/explain`
          const explanation = await other.api.ok('POST', path, { user_id: user, attributes, at })
          const outcome = explanation.reason ?? explanation.outcome
          expect({ at, user, outcome, variant: explanation.variant_id }).toEqual({ at, user, outcome, variant })
          if (explanation.drawn) expect(explanation.drawn.variant_id).toBe(explanation.assignment.variant_id)
          outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
        }),
      )
    console.log(`${served.length} explanations agree: ${JSON.stringify(outcomes)}`)
    expect(served.length).toBeGreaterThanOrEqual(CASES)
    for (const outcome of [
      'stored',
      'not targeted',
      'held out',
      'outside the layer share',
      'prerequisite not met',
      'overridden',
    ])
      expect(outcomes[outcome], outcome).toBeGreaterThan(0)
    await Promise.all([one.close(), other.close()])
  }, 600_000)
})

const attributesOf = (random: ReturnType<typeof seeded>) => ({
  country_code: random.one(['US', 'CA', 'FR']),
  plan: random.one(['free', 'gold']),
  age: random.below(60),
})

/** Creates experiments with every kind of targeting. */
async function manyExperiments({ api }: TestApp) {
  const layer = await api.ok('POST', '/api/layers', { name: 'explained' })
  const holdout = await api.ok('POST', '/api/experiments', { name: 'held', kind: 'holdout', percent_held: 20 })
  const segment = await api.ok('POST', '/api/segments', { name: 'grown up', rules: { age: { $gte: 30 } } })
  const shares = { control: 40, treatment: 40 }
  const plain = await api.makeExperiment(shares)
  const made = [
    plain,
    await api.makeExperiment(shares, { condition: { country_code: { $in: ['US', 'CA'] } } }),
    await api.makeExperiment(shares, { condition: { $or: [{ plan: 'gold' }, { id: { $inGroup: segment.id } }] } }),
    await api.makeExperiment(shares, { on_ineligible: 'leave_out', condition: { plan: 'gold' } }),
    await api.makeExperiment(shares, { traffic_percent: 50 }),
    await api.makeExperiment(shares, { holdout_id: holdout.id }),
    await api.makeExperiment(shares, {
      prerequisites: [{ experiment_id: plain.id, variant_ids: [plain.variants.treatment] }],
    }),
    await api.makeExperiment(shares),
    await api.makeExperiment(shares),
    await api.makeExperiment(shares),
  ]
  const [targeted, ...layered] = made.slice(-3) as typeof made
  await api.ok('POST', '/api/segments/assign-experiment', { experiment_id: targeted?.id, segment_id: segment.id })
  for (const experiment of layered)
    await api.ok('PUT', `/api/layers/${layer.id}/experiments/${experiment.id}`, { percent: 40 })
  const [held] = (await api.ok('GET', `/api/experiments/${holdout.id}`)).variants
  return { made, layered, layer, segment, holdout: { id: holdout.id, held: held.id } }
}

type Experiments = Awaited<ReturnType<typeof manyExperiments>>

async function changeSomething(
  { api }: TestApp,
  { made, layered, layer, segment, holdout }: Experiments,
  random: ReturnType<typeof seeded>,
) {
  const experiment = random.one(made)
  const path = `/api/experiments/${experiment.id}`
  const share = random.one([10, 40, 50])
  const changes: (() => Promise<Loose>)[] = [
    () => api.allocate(experiment, { control: share, treatment: 50 }),
    () => api.ok('PUT', path, { traffic_percent: random.one([30, 60, 100]) }),
    () => api.ok('PUT', `${path}/variants/${experiment.variants.treatment}`, { enabled: random.next() < 0.5 }),
    () => api.ok('PUT', `/api/segments/${segment.id}`, { rules: { age: { $gte: random.below(60) } } }),
    () => api.ok('PUT', `${path}/overrides/user_${random.below(200)}`, { variant_id: experiment.variants.control }),
    () => api.ok('PUT', `${path}/overrides/user_${random.below(5)}`, { variant_id: experiment.variants.treatment }),
    () => api.call('DELETE', `${path}/overrides/user_${random.below(5)}`),
    () =>
      api.ok('PUT', `/api/experiments/${holdout.id}/overrides/user_${random.below(50)}`, { variant_id: holdout.held }),
    () => api.ok('PUT', `/api/experiments/${holdout.id}`, { percent_held: random.one([10, 30]) }),
    () => api.call('POST', `${path}/runs`, { mode: random.one(['ab', 'aa']), confirm: experiment.key }),
    () =>
      api.call('POST', '/api/users/alias', {
        alias_id: `user_${100 + random.below(100)}`,
        user_id: `user_${random.below(100)}`,
      }),
    async () => {
      const { status } = await api.ok('GET', path)
      if (status === 'running' || status === 'paused')
        await api.ok('POST', `${path}/${status === 'paused' ? 'resume' : 'pause'}`)
    },
    async () => {
      const [first, second] = random.next() < 0.5 ? layered : [...layered].reverse()
      for (const [mate, percent] of [
        [first, 20],
        [second, 70],
      ] as const)
        await api.ok('PUT', `/api/layers/${layer.id}/experiments/${mate?.id}`, { percent })
      await api.ok('PUT', `/api/layers/${layer.id}/experiments/${second?.id}`, { percent: 40 })
    },
  ]
  for (let made = 0; made < 6; made++) await random.one(changes)()
  await api.ok('PUT', `${path}/overrides/user_1`, { variant_id: experiment.variants.treatment })
}

/** Makes checks of random users. Their time is read from the platform's clock, just after the answers. */
async function serve(
  app: TestApp,
  { made }: Experiments,
  random: ReturnType<typeof seeded>,
  count: number,
): Promise<Served[]> {
  const asked = new Map<string, { user: string; experiment: number; attributes: object }>()
  while (asked.size < count) {
    const [user, experiment] = [`user_${random.below(200)}`, random.one(made).id]
    asked.set(user, { user, experiment, attributes: attributesOf(random) })
  }
  const answers = await Promise.all(
    [...asked.values()].map(async ({ user, experiment, attributes }) => {
      const variant = (await app.api.variantOf(user, { id: experiment }, { attributes })) ?? null
      return { user, experiment, attributes, variant }
    }),
  )
  const [{ at } = { at: '' }] = await app.platform.orm.em
    .fork()
    .execute<{ at: string }[]>(
      `select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at`,
    )
  await new Promise((resolve) => setTimeout(resolve, 2))
  return answers.map((answer) => ({ ...answer, at }))
}
