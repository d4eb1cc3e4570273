import type { TestApi } from '../support/api.ts'
import type { TestApp } from '../support/app.ts'

export type Type = 'boolean' | 'string' | 'number' | 'object'
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json }

/** The answer of a flag to ADA by the protocol, without the exposure, which depends on the kind of call. */
export type Expected = {
  key: string
  type: Type
  reason: 'STATIC' | 'TARGETING_MATCH' | 'SPLIT' | 'DISABLED'
  /** Missing if the application uses its own default. */
  value?: Json
  variant?: string
  metadata?: { rule?: string; experiment_id?: number; run_id?: number; variant_id?: number; variant_name?: string }
}

/** A context of a user without a profile. The rules of the flags read the country. */
export const ADA = { targetingKey: 'ada', country_code: 'NO' }
export const NOBODY = { country_code: 'NO' }

export const TYPES: Type[] = ['boolean', 'string', 'number', 'object']
/** The defaults are falsy, to test that such values arrive too. */
const defaults: Record<Type, Json> = { boolean: false, string: '', number: 0, object: {} }
const values: Record<Type, Json> = {
  boolean: true,
  string: 'blå',
  number: -0.25,
  object: { color: 'green', sizes: [1, 2], nested: { none: null } },
}

/** The default that the application passes. It always differs from the flag's answer. */
export function codeDefault({ type, value }: Pick<Expected, 'type' | 'value'>): Json {
  if (type === 'boolean') return value !== true
  return { string: 'of the code', number: 42, object: { of: 'the code' } }[type]
}

/** The methods of both the server and the web SDK that read a flag of each type. */
const READERS = {
  boolean: 'getBooleanDetails',
  string: 'getStringDetails',
  number: 'getNumberDetails',
  object: 'getObjectDetails',
} as const
type Read<Details> = (key: string, fallback: Json, context?: object) => Details

/** Reads a flag by the method for its type, with the application's default. */
export function ask<Details>(
  client: object,
  { key, type, value }: Pick<Expected, 'key' | 'type' | 'value'>,
  context?: object,
): Details {
  const read = (client as Record<string, Read<Details>>)[READERS[type]]
  if (!read) throw new Error(`The client has no method ${READERS[type]}`)
  return read.call(client, key, codeDefault({ type, value }), context)
}

export type Flags = {
  /** One flag for each type and reason, including flags by experiments and experiments that are read as flags. */
  expected: Expected[]
  draftId: number
}

/** Creates flags of every kind. Their experiments give everybody `treatment`. */
export async function makeFlags({ api }: TestApp): Promise<Flags> {
  const expected: Expected[] = []
  const make = (key: string, type: Type, settings: object = {}) =>
    api.ok('POST', '/api/flags', { key, type, default_value: defaults[type], ...settings })

  for (const type of TYPES) {
    const value = values[type]
    await make(`static-${type}`, type)
    expected.push({ key: `static-${type}`, type, reason: 'STATIC', value: defaults[type] })

    await make(`rule-${type}`, type, { rules: [{ id: 'norway', condition: { country_code: 'NO' }, value }] })
    expected.push({ key: `rule-${type}`, type, reason: 'TARGETING_MATCH', value, metadata: { rule: 'norway' } })

    await make(`rollout-${type}`, type, { rules: [{ id: 'all', rollout: [{ percent: 100, value }] }] })
    expected.push({ key: `rollout-${type}`, type, reason: 'SPLIT', value, metadata: { rule: 'all' } })

    await make(`off-${type}`, type, { enabled: false, rules: [{ value }] })
    expected.push({ key: `off-${type}`, type, reason: 'DISABLED' })

    const key = `experiment-${type}`
    const experiment = await makeRunning(api, { key, payload_type: type })
    const variant_id = experiment.variants.treatment as number
    // A string variant may lack a payload: the variant's name is then the value.
    if (type !== 'string')
      await api.ok('PUT', `/api/experiments/${experiment.id}/variants/${variant_id}`, { payload: value })
    const split = { type, reason: 'SPLIT', variant: 'treatment' } as const
    const { runs } = await api.ok('GET', `/api/experiments/${experiment.id}`)
    const metadata = { experiment_id: experiment.id, run_id: runs[0].id, variant_id, variant_name: 'treatment' }
    expected.push({ ...split, key, value: type === 'string' ? 'treatment' : value, metadata })

    await make(`by-experiment-${type}`, type, {
      rules: [{ id: 'test', experiment: { experiment_id: experiment.id, values: [{ variant_id, value }] } }],
    })
    expected.push({ ...split, key: `by-experiment-${type}`, value, metadata: { rule: 'test', ...metadata } })
  }

  await makeRunning(api, { key: 'elsewhere', condition: { country_code: 'DE' } })
  expected.push({ key: 'elsewhere', type: 'string', reason: 'SPLIT' })
  const draft = await api.makeExperiment({ control: 50, treatment: 50 }, { key: 'draft' })
  expected.push({ key: 'draft', type: 'string', reason: 'SPLIT' })

  await api.makeExperiment({}, { key: 'holdout', kind: 'holdout' })
  const archived = await makeRunning(api, { key: 'archived' })
  await api.ok('POST', `/api/experiments/${archived.id}/complete`, {})
  await api.ok('POST', `/api/experiments/${archived.id}/archive`)
  return { expected, draftId: draft.id }
}

/** Creates a running experiment that gives everybody `treatment`. */
export async function makeRunning(api: TestApi, settings: object) {
  const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, settings)
  await api.ok('POST', `/api/experiments/${experiment.id}/start`)
  await api.allocate(experiment, { control: 0, treatment: 100 })
  return experiment
}

/** Keys that no flag has. */
export const UNKNOWN = ['unknown', 'holdout', 'archived']

/** Creates an API key with these scopes only. */
export const keyFor = async ({ api }: TestApp, ...scopes: string[]): Promise<{ id: number; key: string }> =>
  api.ok('POST', '/api/auth/keys', { name: scopes.join(), scopes })

/** Reads the assignments of a user, in order of the experiment's key. */
export const assignmentsOf = (app: TestApp, userId: string) =>
  app.platform.orm.em.fork().execute<{ key: string; exposed: boolean }[]>(
    `select e.key, a.exposed_at is not null as exposed
     from assignments a join runs r on r.id = a.run_id join experiments e on e.id = r.experiment_id
     where a.user_id = ? order by e.key`,
    [userId],
  )
