import type { TestApi } from '../support/api.ts'

/** The objects in a platform that gets bad requests: an experiment in each status, and some of every other kind. */
export type TestData = Awaited<ReturnType<typeof createTestData>>

const SCOPES = ['manage', 'read', 'evaluate', 'track', 'admin']
let made = 0

export async function createTestData(api: TestApi) {
  const tag = `data ${++made}`
  const ready = { control: 60, treatment: 40 }
  const step = (experiment: { id: number }, ...steps: string[]) =>
    steps.reduce<Promise<unknown>>(
      (before, name) => before.then(() => api.ok('POST', `/api/experiments/${experiment.id}/${name}`)),
      Promise.resolve(),
    )
  const draft = await api.makeExperiment({ ...ready, spare: 0 })
  const bare = await api.makeExperiment({ control: 100 })
  const running = await api.makeExperiment(ready)
  const paused = await api.makeExperiment(ready)
  const completed = await api.makeExperiment(ready)
  const archived = await api.makeExperiment(ready)
  const frozen = await api.makeExperiment(ready)
  const define = (name: string) =>
    api.ok('POST', '/api/metrics', { name: `${tag} ${name}`, definition: { type: 'count', event_type: 'view' } })
  const metric = await define('metric')
  const spareMetric = await define('spare metric')
  for (const { id } of [running, frozen])
    await api.ok('PUT', `/api/experiments/${id}/metrics`, { metrics: [{ metric_id: metric.id, role: 'primary' }] })
  const key = `key-${tag.replace(' ', '-')}`
  const disposable: { id: number; name: string; key: string } = await api.ok('POST', '/api/experiments', {
    name: `${tag} disposable`,
    key,
  })
  const used = await api.ok('POST', '/api/segments', { name: `${tag} used`, rules: {} })
  const listed = await api.ok('POST', '/api/segments', { name: `${tag} listed` })
  const unused = await api.ok('POST', '/api/segments', { name: `${tag} unused`, rules: { plan: 'gold' } })
  await api.ok('POST', '/api/segments/assign-experiment', { experiment_id: running.id, segment_id: used.id })
  const layer = await api.ok('POST', '/api/layers', { name: `${tag} layer` })
  const spareLayer = await api.ok('POST', '/api/layers', { name: `${tag} spare` })
  await api.ok('PUT', `/api/layers/${layer.id}/experiments/${bare.id}`, { percent: 40 })
  const holdout = await api.ok('POST', '/api/experiments', { name: `${tag} holdout`, kind: 'holdout' })
  const flag = await api.ok('POST', '/api/flags', {
    key: `flag-${tag.replace(' ', '-')}`,
    type: 'object',
    default_value: {},
    rules: [
      { id: 'named', segment_ids: [used.id], value: { named: true } },
      {
        id: 'tried',
        experiment: { experiment_id: running.id, values: [{ variant_id: running.variants.treatment, value: {} }] },
      },
      { id: 'drafted', experiment: { experiment_id: draft.id, values: [] } },
    ],
  })
  const spareFlag = await api.ok('POST', '/api/flags', {
    key: `spare-${tag.replace(' ', '-')}`,
    type: 'number',
    default_value: 0,
  })
  await step(running, 'start')
  await step(paused, 'start', 'pause')
  await step(completed, 'start', 'complete')
  await step(archived, 'start', 'complete', 'archive')
  await step(frozen, 'start', 'complete', 'freeze')

  const ada = await api.makeUser({ attributes: { plan: 'gold' } })
  const bob = await api.makeUser()
  const variant = await api.variantOf(ada.id, running)
  const alias = `device of ${tag}`
  await api.ok('POST', '/api/users/alias', { alias_id: alias, user_id: ada.id })
  await api.record({ user_id: ada.id, type: 'conversion', experiment_id: running.id, properties: { value: 1 } })

  const makeKey = (settings: object) => api.ok('POST', '/api/auth/keys', { name: tag, ...settings })
  const scopes: Record<string, string> = {}
  for (const scope of SCOPES) scopes[scope] = (await makeKey({ scopes: [scope] })).key
  const spareKey = await makeKey({})
  const expired = await makeKey({})
  await api.ok('POST', `/api/auth/keys/${expired.id}/rotate`, { grace_hours: 0 })
  const inactive = await makeKey({})
  await api.ok('PATCH', `/api/auth/keys/${inactive.id}`, { is_active: false })
  const deleted = await makeKey({})
  await api.ok('DELETE', `/api/auth/keys/${deleted.id}`)

  return {
    /** A key with every scope. */
    token: (await makeKey({ scopes: SCOPES })).key as string,
    experiments: { draft, bare, running, paused, completed, archived, frozen },
    disposable,
    holdout: holdout.id as number,
    /** The experiment `bare` has the positions from 0 to 40 in this layer. */
    layer: layer.id as number,
    spareLayer: spareLayer.id as number,
    segments: { used, unused, listed },
    /** The experiments `running` and `frozen` use `metric`; nothing uses `spareMetric`. */
    metric: metric as { id: number; key: string },
    spareMetric: spareMetric.id as number,
    /** The key of a flag of type object, whose rules name `used`, `running` and `draft`. */
    flag: flag.key as string,
    spareFlag: spareFlag.key as string,
    users: { ada, bob },
    /** An alias of ada. */
    alias,
    /** The variant of `running` that ada has. */
    assigned: variant as number,
    spareKey: spareKey.id as number,
    /** Keys with one scope each, by scope. */
    scopes,
    tokens: { expired: expired.key, inactive: inactive.key, deleted: deleted.key } as Record<string, string>,
  }
}
