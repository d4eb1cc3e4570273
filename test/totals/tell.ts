import { foldOnce } from '../../server/totals/fold.ts'
import { createRandom, type Random } from '../promises/scale/random.ts'
import type { Loose } from '../support/api.ts'
import { compareResults } from './compare.ts'
import type { ClockedApp } from './set-clock.ts'
import {
  type Act,
  ATTRIBUTES,
  type EventPlan,
  type Fold,
  METRICS,
  type Operation,
  PROFILES,
  PROPERTIES,
  type Repeat,
  SHARES,
  type Story,
} from './story.ts'

/** The day before the clocks of New York are set forward. */
const BEGINNING = Date.UTC(2026, 2, 7, 22)
export const TIME_ZONE = 'America/New_York'
const MOST_AHEAD_MS = 4 * 60_000

/** What a story is told to, and how far it has come. */
type Scene = {
  app: ClockedApp
  seed: number
  experiments: { id: number; variants: number[]; metrics: number[] }[]
  /** By their place in the story. */
  metrics: number[]
  clock: number
  /** When acts took place. */
  moments: number[]
  events: Loose[]
  /** Who named a variant of an experiment at a time: nobody else does at the same. */
  claims: Map<string, string>
  /** What was answered to acts: the same in whichever order events come. */
  answers: string[]
}

/**
 * Lets a story happen. What was asked for in between must have been right at once.
 * @param order the events between two acts come as they are told, or shuffled by this seed
 * @returns the answers to acts
 */
export async function tell(app: ClockedApp, { seed, operations }: Story, order: 'as told' | number): Promise<string[]> {
  const random = createRandom(order === 'as told' ? seed : order)
  const scene: Scene = {
    ...{
      app,
      seed,
      experiments: [],
      metrics: [],
      clock: BEGINNING,
      moments: [BEGINNING],
      events: [],
      claims: new Map(),
      answers: [],
    },
  }
  await app.setClock(scene.clock)
  await makeWorld(scene)
  for (const { between, act } of segmentsOf(operations)) {
    const arrivals = between.map((operation) =>
      operation.kind === 'fold'
        ? operation
        : operation.kind === 'event'
          ? resolve(scene, operation)
          : again(scene, operation),
    )
    await deliver(scene, order === 'as told' ? arrivals : random.some(arrivals, arrivals.length), random)
    if (act) await carryOut(scene, act)
  }
  return scene.answers
}

/** Three experiments, two of them drafts that whoever comes first starts; of the third most people are no part. */
async function makeWorld({ app: { api }, experiments, metrics }: Scene) {
  for (const [place, definition] of METRICS.entries())
    metrics.push((await api.ok('POST', '/api/metrics', { name: `metric ${place}`, definition })).id)
  const make = async (shares: Record<string, number>, settings: object = {}) => {
    const { id, variants } = await api.makeExperiment(shares, settings)
    const experiment = { id, variants: Object.values(variants), metrics: metrics.slice(0, 2) }
    experiments.push(experiment)
    await api.ok('PUT', `/api/experiments/${id}/metrics`, attachments(experiment))
    return id
  }
  await make({ control: 40, a: 30, b: 30 }, { dimensions: ['plan', 'level'] })
  const reported = await make({ control: 50, a: 40, b: 10 }, { exposure: 'on_report' })
  await make({ control: 10, a: 10, b: 0 }, { max_daily_events: 4 })
  await api.ok('POST', `/api/experiments/${reported}/start`)
  // Events without a time get the platform's, whose month is not this process's.
  await api.record({ user_id: 'the first of all', type: 'setup', timestamp: new Date(BEGINNING).toISOString() })
}

const attachments = ({ metrics }: Scene['experiments'][number]) => ({
  metrics: metrics.map((metric_id) => ({ metric_id, role: 'secondary' })),
})

type Between = EventPlan | Repeat | Fold
const isAct = (operation: Operation): operation is Act => !['event', 'repeat', 'fold'].includes(operation.kind)

function segmentsOf(operations: readonly Operation[]) {
  const segments: { between: Between[]; act: Act | null }[] = [{ between: [], act: null }]
  for (const operation of operations) {
    const last = segments.at(-1) as (typeof segments)[number]
    if (isAct(operation)) {
      last.act = operation
      segments.push({ between: [], act: null })
    } else last.between.push(operation)
  }
  return segments
}

const at = <T>(items: readonly T[], place: number) => items[place % items.length] as T
const userId = ({ seed }: Scene, place: number) => `user ${seed} ${place}`

function resolve(scene: Scene, plan: EventPlan): Loose {
  const user_id = userId(scene, plan.user)
  const experiment = plan.experiment === null ? null : at(scene.experiments, plan.experiment)
  const variant_id = experiment && plan.variant !== null ? at(experiment.variants, plan.variant) : null
  const time = timeOf(scene, plan.when)
  const timestamp =
    experiment && variant_id !== null ? claimTime(scene, experiment.id, user_id, time ?? scene.clock) : time
  const event = {
    user_id,
    ...(experiment ? { experiment_id: experiment.id } : {}),
    ...(variant_id === null ? {} : { variant_id }),
    type: plan.type,
    properties: at(PROPERTIES, plan.value),
    ...(timestamp === null ? {} : { timestamp: new Date(timestamp).toISOString() }),
    ...(plan.hasId ? { event_id: `event ${scene.events.length}` } : {}),
    attributes: timestamp === null ? {} : at(ATTRIBUTES, timestamp),
  }
  scene.events.push(event)
  return event
}

function timeOf({ clock, moments }: Scene, when: EventPlan['when']): number | null {
  if (when === null) return null
  const base = when.moment === null ? clock : at(moments, when.moment)
  return Math.min(base + when.offset, clock + MOST_AHEAD_MS)
}

/** The next time at which nobody else names a variant of the experiment. */
function claimTime({ claims }: Scene, experimentId: number, user_id: string, time: number): number {
  const key = `${experimentId} ${time}`
  if ((claims.get(key) ?? user_id) !== user_id) return claimTime({ claims } as Scene, experimentId, user_id, time + 1)
  claims.set(key, user_id)
  return time
}

const again = ({ events }: Scene, { back }: Repeat): Loose | null => events[events.length - 1 - back] ?? null

/** Sends events one by one or together, and folds in between. */
async function deliver({ app }: Scene, arrivals: readonly (Fold | Loose | null)[], random: Random) {
  const left = arrivals.filter((arrival) => arrival !== null)
  while (left.length > 0) {
    if (left[0].kind === 'fold') {
      await fold(app, left.shift(), random)
      continue
    }
    const next = left.findIndex(({ kind }) => kind === 'fold')
    const events = left.splice(0, Math.min(next < 0 ? left.length : next, 1 + random.below(5)))
    if (events.length === 1) await app.api.ok('POST', '/api/events', events[0])
    else {
      const { rejected, results } = await app.api.ok('POST', '/api/events/batch', { events })
      if (rejected > 0) throw new Error(`Of a batch events are rejected: ${JSON.stringify(results)}`)
    }
  }
}

/** Everything, or what a pass takes that may take next to nothing. */
async function fold({ platform }: ClockedApp, { all }: Fold, random: Random) {
  if (all) await platform.reporting.totals.catchUp()
  else await foldOnce(platform.orm, { events: 1 + random.below(6), users: 1 + random.below(3) }, TIME_ZONE)
}

async function carryOut(scene: Scene, act: Act) {
  const { app, answers } = scene
  scene.clock += act.after
  scene.moments.push(scene.clock)
  await app.setClock(scene.clock)
  if (act.kind === 'ask') return compareResults(app, at(scene.experiments, act.experiment).id, act.type)
  for (const { method, path, body, allowed } of requestsOf(scene, act)) {
    const { status, body: answer } = await app.api.call(method, path, body)
    if (status !== 200 && !allowed.includes(status))
      throw new Error(`${method} ${path}: ${status} ${JSON.stringify(answer)}`)
    answers.push(`${method} ${path}: ${status}`)
    if (act.kind === 'profile' && status === 200) break
  }
}

type Request = { method: string; path: string; body?: object; allowed: number[] }

function requestsOf(scene: Scene, act: Exclude<Act, { kind: 'ask' }>): Request[] {
  const user_id = 'user' in act ? userId(scene, act.user) : ''
  const user = `/api/users/${encodeURIComponent(user_id)}`
  const experiment = 'experiment' in act ? at(scene.experiments, act.experiment) : { id: 0, variants: [], metrics: [] }
  const path = `/api/experiments/${experiment.id}`
  const put = (variantId: number, body: object): Request => ({
    ...{ method: 'PUT', path: `${path}/variants/${variantId}`, body, allowed: [400, 409] },
  })
  switch (act.kind) {
    case 'check': {
      const body = {
        user_id,
        experiment_ids: act.experiments.map((place) => at(scene.experiments, place).id),
        expose: act.expose,
        attributes: at(ATTRIBUTES, act.attributes),
      }
      return [{ method: 'POST', path: '/api/experiments/check-eligibility', body, allowed: [] }]
    }
    case 'allocate': {
      const shares = at(SHARES, act.shares)
      const set = (percents: readonly number[]) =>
        experiment.variants.map((id, index) => put(id, { percent_allocated: percents[index] }))
      return [...set([0, 0, 0]), ...set(shares)]
    }
    case 'enable':
      return [put(at(experiment.variants, act.variant), { enabled: act.enabled })]
    case 'run anew':
      return [{ method: 'POST', path: `${path}/runs`, allowed: [409] }]
    case 'start':
    case 'pause':
    case 'resume':
    case 'complete':
      return [{ method: 'POST', path: `${path}/${act.kind}`, allowed: [409] }]
    case 'join': {
      const body = { alias_id: userId(scene, act.alias), user_id }
      return [{ method: 'POST', path: '/api/users/alias', body, allowed: [400, 409] }]
    }
    case 'erase':
      return [{ method: 'DELETE', path: user, allowed: [404] }]
    case 'force': {
      const body = { variant_id: at(experiment.variants, act.variant) }
      return [{ method: 'PUT', path: `${path}/overrides/${encodeURIComponent(user_id)}`, body, allowed: [] }]
    }
    case 'release':
      return [{ method: 'DELETE', path: `${path}/overrides/${encodeURIComponent(user_id)}`, allowed: [404] }]
    case 'exclude':
      return [{ method: 'POST', path: `${path}/exclusions`, body: { user_ids: [user_id] }, allowed: [] }]
    case 'include':
      return [{ method: 'POST', path: `${path}/exclusions/remove`, body: { user_ids: [user_id] }, allowed: [] }]
    case 'attach': {
      const metric = at(scene.metrics, act.metric)
      if (!experiment.metrics.includes(metric)) experiment.metrics.push(metric)
      return [{ method: 'PUT', path: `${path}/metrics`, body: attachments(experiment), allowed: [] }]
    }
    case 'profile': {
      const profile = at(PROFILES, act.profile)
      const names = {
        id: user_id,
        first_name: 'Ada',
        last_name: 'Lovelace',
        email: `${user_id.replaceAll(' ', '-')}@example.com`,
      }
      return [
        { method: 'PUT', path: user, body: profile, allowed: [404] },
        { method: 'POST', path: '/api/users', body: { ...names, ...profile }, allowed: [] },
      ]
    }
  }
}
