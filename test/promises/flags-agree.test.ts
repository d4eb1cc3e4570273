import { expect, test } from 'vitest'
import type { ExperimentDefinition, Subject } from '../../server/evaluation/definition.ts'
import { decideSettled, draw, isLeftOut } from '../../server/evaluation/evaluate.ts'
import { evaluateFlag, type FlagAnswer } from '../../server/evaluation/flag.ts'
import {
  type Configuration,
  changeConfiguration,
  makeConfiguration,
  makeGround,
  randomAttributes,
  removeConfiguration,
} from '../flags/random-configuration.ts'
import type { Loose } from '../support/api.ts'
import { onPostgres, openApp, type TestApp } from '../support/app.ts'
import { scaleOf } from '../support/scale.ts'
import { createRandom, type Random } from './scale/random.ts'

const { size: USERS, seed: SEED } = scaleOf('flags agree')
const USERS_EACH = 100
const CONCURRENCY = 24

type Asking = { user: string; attributes: ReturnType<typeof randomAttributes> }
/** The expected answers: flags and experiments by key, and the given variants by the experiment's id. */
type Expected = { flags: Map<string, Evaluated>; variants: Record<string, unknown> }
type Evaluated = { answer: FlagAnswer; exposed: 'recorded' | 'report' | 'none'; reported: 'report' | 'none' }

onPostgres(`flags and experiments of ${USERS / USERS_EACH} random configurations`, () => {
  test(`have the same values for ${USERS} random users in every endpoint`, async () => {
    const app = await openApp('postgres')
    const random = createRandom(SEED)
    const counts: Record<string, number> = {}
    const started = performance.now()
    const users = Array.from({ length: USERS }, (_, user) => `agrees_${user}`)
    const ground = await makeGround(app.api, users)
    // Some users have a profile.
    for (const id of users.slice(0, 1000).filter((_, index) => index % 3 === 0))
      await app.api.makeUser({ id, ...profileOf(random) })
    for (let first = 0; first < USERS; first += USERS_EACH) {
      const group = users.slice(first, first + USERS_EACH)
      const early = group.slice(0, USERS_EACH / 2).map((user) => ({ user, attributes: randomAttributes(random) }))
      const late = group.slice(USERS_EACH / 2).map((user) => ({ user, attributes: randomAttributes(random) }))
      const made = await makeConfiguration(app.api, random, ground, `c${first}`, group)
      await askAll(app, random, made, early, counts)
      await changeConfiguration(app.api, random, ground, made)
      // Some users now have other attributes, and targeting may not match them any more.
      const again = early.map(({ user, attributes }) => ({
        user,
        attributes: random.chance(0.5) ? attributes : randomAttributes(random),
      }))
      await askAll(app, random, made, [...again, ...late], counts)
      await removeConfiguration(app.api, made)
    }
    const seconds = ((performance.now() - started) / 1000).toFixed(1)
    console.log(`${USERS} users, ${USERS / USERS_EACH} configurations, ${seconds} s: ${JSON.stringify(counts)}`)
    for (const kind of [
      'STATIC',
      'TARGETING_MATCH',
      'SPLIT',
      'DISABLED',
      'SPLIT of an experiment',
      'no value',
      'variant',
    ])
      expect(counts[kind], kind).toBeGreaterThan(0)
    await app.close()
  }, 3_600_000)
})

const profileOf = (random: Random) => {
  const { country_code, ...attributes } = randomAttributes(random)
  return { attributes, ...(country_code ? { country_code } : {}) }
}

async function askAll(
  app: TestApp,
  random: Random,
  made: Configuration,
  asking: readonly Asking[],
  counts: Record<string, number>,
) {
  const stored = await storedOf(app, asking)
  const rounds = asking.map(async (one) => ({ one, expected: await evaluatePurely(app, one, made, stored) }))
  const all = await Promise.all(rounds)
  for (let from = 0; from < all.length; from += CONCURRENCY)
    await Promise.all(
      all.slice(from, from + CONCURRENCY).map(async ({ one, expected }) => {
        const ways = waysOf(app, random, made, one, expected, counts)
        for (const ask of random.some(ways, ways.length)) await ask()
      }),
    )
}

/** Reads the stored assignments of users, by user and run. */
async function storedOf(app: TestApp, asking: readonly Asking[]) {
  const rows = await app.platform.orm.em.fork().execute<{ user_id: string; run_id: number; variant_id: number }[]>(
    `select a.user_id, a.run_id, a.variant_id from assignments a
     where a.user_id in (select jsonb_array_elements_text(?::text::jsonb))`,
    [JSON.stringify(asking.map(({ user }) => user))],
  )
  const stored = new Map<string, Map<number, { variantId: number }>>()
  for (const { user_id, run_id, variant_id } of rows)
    stored.set(user_id, (stored.get(user_id) ?? new Map()).set(run_id, { variantId: variant_id }))
  return stored
}

/** Computes the expected answers by the pure functions, on the snapshot of the process. */
async function evaluatePurely(
  { platform }: TestApp,
  { user, attributes }: Asking,
  made: Configuration,
  stored: Map<string, Map<number, { variantId: number }>>,
): Promise<Expected> {
  const person = await platform.users.profiles.read(user)
  const subject: Subject = {
    userId: user,
    askedId: user,
    attributes: { ...person.attributes, ...attributes, id: user },
    segmentIds: person.segmentIds,
    at: Date.now(),
    runs: stored.get(user) ?? new Map(),
  }
  const { experiments, byKey } = platform.definitions.watch.snapshot()
  const given = new Map(made.experiments.flatMap(({ id }) => variantGiven(experiments.get(id), subject)))
  const flags = new Map<string, Evaluated>()
  for (const [key, entry] of byKey) {
    const isExperiment = 'variants' in entry
    const answer = isExperiment
      ? (given.get(entry.id)?.variant.asFlag ?? entry.codeDefault)
      : evaluateFlag(entry, subject, (id) => given.get(id)?.variant.id ?? null)
    if (typeof answer !== 'object') throw new Error(`${key} was not evaluated: ${answer}`)
    const found = answer.experiment ? given.get(answer.experiment.id) : undefined
    const reported = found?.isStored ? 'report' : 'none'
    flags.set(key, { answer, reported, exposed: found?.isStored && found.exposesOnCheck ? 'recorded' : reported })
  }
  return { flags, variants: Object.fromEntries([...given].map(([id, { variant }]) => [id, variant.answer])) }
}

function variantGiven(experiment: ExperimentDefinition | undefined, subject: Subject) {
  if (!experiment) return []
  const { id, run, exposesOnCheck } = experiment
  const decision =
    decideSettled(experiment, subject.askedId, run ? subject.runs.get(run.id) : undefined) ?? draw(experiment, subject)
  if (decision.outcome === 'left out' || (decision.outcome === 'stored' && isLeftOut(experiment, subject))) return []
  const isStored = decision.outcome === 'stored' || decision.outcome === 'drawn'
  return [[id, { variant: decision.variant, isStored, exposesOnCheck }] as const]
}

/** Lists every request for one user; each one checks its answer. */
function waysOf(
  { api }: TestApp,
  random: Random,
  { experiments }: Configuration,
  { user, attributes }: Asking,
  expected: Expected,
  counts: Record<string, number>,
): (() => Promise<void>)[] {
  const count = (name: string) => {
    counts[name] = (counts[name] ?? 0) + 1
  }
  const context = { targetingKey: user, ...attributes }
  const keys = [...expected.flags.keys()]
  const asked = random.chance(0.5) ? null : random.some(keys, 1 + random.below(keys.length))
  const modes = { expose: random.chance(0.5), preview: random.chance(0.2) }
  const ids = experiments.map(({ id }) => id)

  const singles = [...expected.flags].map(([key, evaluated]) => async () => {
    const answer = await api.ok('POST', `/ofrep/v1/evaluate/flags/${key}`, { context })
    expect({ user, ...answer }).toEqual({ user, ...asOfrep(evaluated, evaluated.exposed) })
    const { reason, value, experiment, rule } = evaluated.answer
    count('single')
    count(experiment && rule === null ? 'SPLIT of an experiment' : reason)
    if (value === undefined) count('no value')
  })
  const bulk = async () => {
    const { flags } = await api.ok('POST', '/ofrep/v1/evaluate/flags', { context })
    const all = [...expected.flags.values()].map((evaluated) => asOfrep(evaluated, evaluated.reported, user))
    expect({ user, flags }).toEqual({ user, flags: all })
    count('bulk')
  }
  const evaluate = async () => {
    const { flags } = await api.ok('POST', '/api/flags/evaluate', { user_id: user, keys: asked, attributes, ...modes })
    const wanted = (asked ?? keys).map((key) => [key, asRest(expected.flags.get(key)?.answer as FlagAnswer)])
    expect({ user, flags }).toEqual({ user, flags: Object.fromEntries(wanted) })
    count('evaluate')
  }
  const check = async () => {
    const body = { user_id: user, experiment_ids: ids, attributes, ...modes }
    const { eligible_experiment_ids } = await api.ok('POST', '/api/experiments/check-eligibility', body)
    expect({ user, ...eligible_experiment_ids }).toEqual({ user, ...expected.variants })
    count('check')
    for (const _ of Object.keys(expected.variants)) count('variant')
  }
  return [...singles, bulk, evaluate, check]
}

/** Writes the expected answer in OFREP's shape. @param user whose exposure is to be reported, in a bulk evaluation */
function asOfrep({ answer }: Evaluated, exposure: string, user?: string): Loose {
  const { key, reason, value, rule, experiment } = answer
  const metadata = {
    ...(rule === null ? {} : { rule }),
    ...(experiment === null
      ? {}
      : {
          experiment_id: experiment.id,
          variant_id: experiment.variantId,
          variant_name: experiment.variantName,
          ...(experiment.runId === null ? {} : { run_id: experiment.runId }),
          exposure,
          ...(user !== undefined && exposure === 'report' ? { targeting_key: user } : {}),
        }),
  }
  return {
    key,
    reason,
    ...(value === undefined ? {} : { value }),
    ...(experiment === null ? {} : { variant: experiment.variantName }),
    ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
  }
}

const asRest = ({ value, reason, rule, experiment }: FlagAnswer): Loose => ({
  ...(value === undefined ? {} : { value }),
  reason,
  rule,
  experiment_id: experiment?.id ?? null,
  variant_id: experiment?.variantId ?? null,
  variant_name: experiment?.variantName ?? null,
})
