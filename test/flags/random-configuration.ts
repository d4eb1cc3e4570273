import type { Random } from '../promises/scale/random.ts'
import type { Loose, TestApi } from '../support/api.ts'

/** Random experiments and flags of every kind, created through the API from a seed. */

type ValueType = 'boolean' | 'string' | 'number' | 'object'
type Made = { id: number; variants: Record<string, number> }
export type Configuration = { experiments: Made[]; flags: { key: string; type: ValueType }[] }
/** The segments and the holdout that all configurations share. */
export type Ground = { segments: number[]; holdout: number }

const PLANS = ['free', 'silver', 'gold']
const COUNTRIES = ['US', 'CA', 'FR', 'DE']
const PAST = '2020-01-01T00:00:00.000Z'
const FUTURE = '2090-01-01T00:00:00Z'

export const randomAttributes = (random: Random) => ({
  ...(random.chance(0.9) ? { plan: random.pick(PLANS) } : {}),
  ...(random.chance(0.9) ? { country_code: random.pick(COUNTRIES) } : {}),
  ...(random.chance(0.8) ? { age: random.below(80) } : {}),
  ...(random.chance(0.2) ? { tags: random.some(['a', 'b', 'c'], 2), device: { os: random.pick(['ios', 'web']) } } : {}),
})

function randomCondition(random: Random, { segments }: Ground, depth = 0): object {
  const plain: (() => object)[] = [
    () => ({ plan: random.pick(PLANS) }),
    () => ({ country_code: { $in: random.some(COUNTRIES, 2) } }),
    () => ({ age: { [random.pick(['$gte', '$lt'])]: random.below(80) } }),
    () => ({ id: { [random.pick(['$inGroup', '$notInGroup'])]: random.pick(segments) } }),
    () => ({ 'device.os': { $exists: random.chance(0.3) } }),
    () => ({ plan: { $ne: random.pick(PLANS) }, country_code: { $nin: [random.pick(COUNTRIES)] } }),
  ]
  if (depth > 1 || random.chance(0.6)) return random.pick(plain)()
  const [one, other] = [randomCondition(random, { segments, holdout: 0 }, depth + 1), random.pick(plain)()]
  return random.pick([{ $or: [one, other] }, { $and: [one, other] }, { $not: one }])
}

function randomValue(random: Random, type: ValueType): unknown {
  if (type === 'boolean') return random.chance(0.5)
  if (type === 'string') return random.pick(['', 'red', 'grün', '"quoted"', '\u{1f600}'])
  if (type === 'number') return random.pick([0, -1, 0.5, 7, 1e21])
  return random.pick([{}, { color: 'red' }, { nested: { list: [1, null, 'a'] } }])
}

const TYPES = ['boolean', 'string', 'number', 'object'] as const
const ALLOCATIONS: Record<string, number>[] = [
  { control: 50, treatment: 50 },
  { control: 20, treatment: 30 },
  { control: 10, treatment: 0, third: 60 },
  { control: 33.3333, treatment: 33.3333, third: 33.3334 },
]

/** Creates segments by rules and by hand, and a running holdout. */
export async function makeGround(api: TestApi, members: readonly string[]): Promise<Ground> {
  const segments: number[] = []
  for (const rules of [{ plan: 'gold' }, { age: { $gte: 40 } }, null, { country_code: 'FR', plan: 'free' }]) {
    const segment = await api.ok('POST', '/api/segments', { name: `agree ${segments.length}`, rules })
    await api.ok('POST', `/api/segments/${segment.id}/members`, {
      add: members.filter((_, index) => (index + segments.length) % 5 === 0),
    })
    segments.push(segment.id)
  }
  const holdout = await api.ok('POST', '/api/experiments', { name: 'agree held', kind: 'holdout', percent_held: 15 })
  await api.ok('POST', `/api/experiments/${holdout.id}/start`)
  return { segments, holdout: holdout.id }
}

/** @param users the users of whom some get overrides */
export async function makeConfiguration(
  api: TestApi,
  random: Random,
  ground: Ground,
  name: string,
  users: readonly string[],
): Promise<Configuration> {
  const layer = await api.ok('POST', '/api/layers', { name })
  const made: Configuration = { experiments: [], flags: [] }
  for (let index = 0; index < 5; index++) {
    const experiment = await makeExperiment(api, random, ground)
    made.experiments.push(experiment)
    const path = `/api/experiments/${experiment.id}`
    if (index < 2 || random.chance(0.2))
      await api.call('PUT', `/api/layers/${layer.id}/experiments/${experiment.id}`, { percent: random.pick([20, 45]) })
    if (random.chance(0.8)) await api.ok('POST', `${path}/start`)
    for (const user of random.some(users, 2))
      await api.ok('PUT', `${path}/overrides/${user}`, { variant_id: random.pick(Object.values(experiment.variants)) })
  }
  for (let index = 0; index < 6; index++) {
    const [key, type] = [`${random.pick(['Flag', 'flag'])}.${name}-${index}`, random.pick(TYPES)]
    await api.ok('POST', '/api/flags', {
      key,
      type,
      default_value: randomValue(random, type),
      rules: randomRules(random, ground, made.experiments, type),
      enabled: random.chance(0.93),
    })
    made.flags.push({ key, type })
  }
  return made
}

async function makeExperiment(api: TestApi, random: Random, ground: Ground): Promise<Made> {
  const type = random.chance(0.7) ? random.pick(TYPES) : null
  const experiment = await api.makeExperiment(random.pick(ALLOCATIONS), {
    auto_start: false,
    payload_type: type,
    condition: random.chance(0.4) ? randomCondition(random, ground) : null,
    traffic_percent: random.pick([100, 100, 60]),
    mode: random.pick(['ab', 'ab', 'aa']),
    on_ineligible: random.pick(['keep', 'leave_out']),
    exposure: random.pick(['on_check', 'on_report']),
    holdout_id: random.chance(0.3) ? ground.holdout : null,
  })
  for (const id of Object.values(experiment.variants))
    if (random.chance(0.8))
      await api.ok('PUT', `/api/experiments/${experiment.id}/variants/${id}`, {
        payload: randomValue(random, type ?? random.pick(TYPES)),
      })
  if (random.chance(0.3)) {
    const link = { experiment_id: experiment.id, segment_id: random.pick(ground.segments) }
    await api.ok('POST', '/api/segments/assign-experiment', link)
  }
  return experiment
}

function randomRules(random: Random, ground: Ground, experiments: readonly Made[], type: ValueType): object[] {
  const served = () => {
    const kind = random.pick(['value', 'rollout', 'experiment'])
    if (kind === 'value') return { value: randomValue(random, type) }
    if (kind === 'rollout') {
      const shares = random.pick([[10], [50, 25], [33.3333, 33.3333, 33.3334]])
      return { rollout: shares.map((percent) => ({ percent, value: randomValue(random, type) })) }
    }
    const { id, variants } = random.pick(experiments)
    const mapped = random.some(Object.values(variants), random.pick([0, 1, 2, 3]))
    const values = mapped.map((variant_id) => ({ variant_id, value: randomValue(random, type) }))
    return { experiment: { experiment_id: id, values } }
  }
  return Array.from({ length: random.below(5) }, () => ({
    ...(random.chance(0.6) ? { condition: randomCondition(random, ground) } : {}),
    ...(random.chance(0.3) ? { segment_ids: random.some(ground.segments, 2) } : {}),
    ...random.pick([{}, {}, {}, { from: PAST }, { until: PAST }, { from: FUTURE }, { from: PAST, until: FUTURE }]),
    ...served(),
  }))
}

/** Starts, pauses and completes experiments, and changes shares, variants and rules. */
export async function changeConfiguration(api: TestApi, random: Random, ground: Ground, made: Configuration) {
  for (const experiment of made.experiments) {
    const path = `/api/experiments/${experiment.id}`
    const { status } = await api.ok('GET', path)
    if (status !== 'running') continue
    const variant = random.pick(Object.values(experiment.variants))
    const changes: (() => Promise<Loose>)[] = [
      async () => {},
      () => api.allocate(experiment, { control: 10, treatment: 25 }),
      () => api.ok('POST', `${path}/pause`),
      () => api.ok('PUT', `${path}/variants/${variant}`, { enabled: false }),
      () => api.ok('PUT', path, { condition: randomCondition(random, ground) }),
      () => api.ok('POST', `${path}/complete`),
      () => api.ok('POST', `${path}/complete`, { shipped_variant_id: variant }),
      () => api.ok('POST', `${path}/complete`).then(() => api.call('POST', `${path}/archive`)),
    ]
    await random.pick(changes)()
  }
  for (const { key, type } of random.some(made.flags, 2)) {
    const value = random.pick([{ enabled: random.chance(0.5) }, { default_value: randomValue(random, type) }])
    await api.ok('PUT', `/api/flags/${key}`, value)
  }
}

/** Removes the configuration, so that the next one has no others beside it. */
export async function removeConfiguration(api: TestApi, made: Configuration) {
  for (const { key } of made.flags) await api.ok('DELETE', `/api/flags/${key}`)
  for (const { id } of made.experiments) {
    const path = `/api/experiments/${id}`
    const { status } = await api.ok('GET', path)
    if (status === 'draft') await api.ok('DELETE', path)
    if (status === 'running' || status === 'paused') await api.ok('POST', `${path}/complete`)
    if (status !== 'draft' && status !== 'archived') await api.ok('POST', `${path}/archive`)
  }
}
