import { foldOnce } from '../../server/totals/fold.ts'
import { createRandom, type Random } from '../promises/scale/random.ts'
import type { Loose } from '../support/api.ts'
import { compareResults, compareWithRaw } from './compare.ts'
import {
  type Action,
  ATTRIBUTES,
  type EventPlan,
  type Fold,
  METRICS,
  type Operation,
  PROFILES,
  PROPERTIES,
  type Repeat,
  type Scenario,
  SHARES,
} from './scenario.ts'
import type { ClockedApp } from './set-clock.ts'

/** The day before the clocks of New York are set forward. */
const BEGINNING = Date.UTC(2026, 2, 7, 22)
export const TIME_ZONE = 'America/New_York'
const MOST_AHEAD_MS = 4 * 60_000

/** A platform on which a scenario runs, and the scenario's progress. */
type State = {
  app: ClockedApp
  seed: number
  experiments: { id: number; key: string; variants: number[]; metrics: number[] }[]
  /** The ids of `METRICS`, in the same order. */
  metrics: number[]
  clock: number
  /** The times of the actions so far. */
  moments: number[]
  events: Loose[]
  /** The user whose event names a variant, by experiment and time: no other user's event does so at the same time. */
  claims: Map<string, string>
  /** The answers to actions, which must not depend on the order of events. */
  answers: string[]
}

/**
 * Runs a scenario on a platform. Results that the scenario asks for are compared at once with the recomputed counts.
 * @param order sends the events between two actions in their original order, or shuffled by this seed
 * @returns the answers to actions
 */
export async function replay(
  app: ClockedApp,
  { seed, operations }: Scenario,
  order: 'original' | number,
): Promise<string[]> {
  const random = createRandom(order === 'original' ? seed : order)
  const state: State = {
    app,
    seed,
    experiments: [],
    metrics: [],
    clock: BEGINNING,
    moments: [BEGINNING],
    events: [],
    claims: new Map(),
    answers: [],
  }
  await app.setClock(state.clock)
  await makeExperiments(state)
  for (const { between, action } of segmentsOf(operations)) {
    const arrivals = between.map((operation) =>
      operation.kind === 'fold'
        ? operation
        : operation.kind === 'event'
          ? resolve(state, operation)
          : repeated(state, operation),
    )
    await deliver(state, order === 'original' ? arrivals : random.some(arrivals, arrivals.length), random)
    if (action) await perform(state, action)
  }
  return state.answers
}

/**
 * Makes the metrics and three experiments. Two experiments are drafts that start with their first user. The third one
 * assigns 20 % of the users and limits the events of a day.
 */
async function makeExperiments({ app: { api }, experiments, metrics }: State) {
  for (const [index, definition] of METRICS.entries())
    metrics.push((await api.ok('POST', '/api/metrics', { name: `metric ${index}`, definition })).id)
  const make = async (shares: Record<string, number>, settings: object = {}) => {
    const { id, key, variants } = await api.makeExperiment(shares, settings)
    const experiment = { id, key, variants: Object.values(variants), metrics: metrics.slice(0, 3) }
    experiments.push(experiment)
    await api.ok('PUT', `/api/experiments/${id}/metrics`, attachments(experiment))
    return id
  }
  await make({ control: 40, a: 30, b: 30 }, { dimensions: ['plan', 'level'] })
  const reported = await make({ control: 50, a: 40, b: 10 }, { exposure: 'on_report' })
  await make({ control: 10, a: 10, b: 0 }, { max_daily_events: 4 })
  await api.ok('POST', `/api/experiments/${reported}/start`)
  // Makes the platform create the partition for the month of the set clock, for events without a time.
  await api.record({ user_id: 'the first of all', type: 'setup', timestamp: new Date(BEGINNING).toISOString() })
}

const attachments = ({ metrics }: State['experiments'][number]) => ({
  metrics: metrics.map((metric_id) => ({ metric_id, role: 'secondary' })),
})

type Between = EventPlan | Repeat | Fold
const isAct = (operation: Operation): operation is Action => !['event', 'repeat', 'fold'].includes(operation.kind)

function segmentsOf(operations: readonly Operation[]) {
  const segments: { between: Between[]; action: Action | null }[] = [{ between: [], action: null }]
  for (const operation of operations) {
    const last = segments.at(-1) as (typeof segments)[number]
    if (isAct(operation)) {
      last.action = operation
      segments.push({ between: [], action: null })
    } else last.between.push(operation)
  }
  return segments
}

const at = <T>(items: readonly T[], index: number) => items[index % items.length] as T
const userId = ({ seed }: State, index: number) => `user ${seed} ${index}`

function resolve(state: State, plan: EventPlan): Loose {
  const user_id = userId(state, plan.user)
  const experiment = plan.experiment === null ? null : at(state.experiments, plan.experiment)
  const variant_id = experiment && plan.variant !== null ? at(experiment.variants, plan.variant) : null
  const time = timeOf(state, plan.when)
  const timestamp =
    experiment && variant_id !== null ? claimTime(state, experiment.id, user_id, time ?? state.clock) : time
  const event = {
    user_id,
    ...(experiment ? { experiment_id: experiment.id } : {}),
    ...(variant_id === null ? {} : { variant_id }),
    // The platform refuses exposures that name no experiment.
    type: experiment === null && plan.type === '$exposure' ? 'view' : plan.type,
    properties: at(PROPERTIES, plan.value),
    ...(timestamp === null ? {} : { timestamp: new Date(timestamp).toISOString() }),
    ...(plan.hasId ? { event_id: `event ${state.events.length}` } : {}),
    attributes: timestamp === null ? {} : at(ATTRIBUTES, timestamp),
  }
  state.events.push(event)
  return event
}

function timeOf({ clock, moments }: State, when: EventPlan['when']): number | null {
  if (when === null) return null
  const base = when.moment === null ? clock : at(moments, when.moment)
  return Math.min(base + when.offset, clock + MOST_AHEAD_MS)
}

/** Returns the next time at which no other user's event names a variant of the experiment. */
function claimTime({ claims }: State, experimentId: number, user_id: string, time: number): number {
  const key = `${experimentId} ${time}`
  if ((claims.get(key) ?? user_id) !== user_id) return claimTime({ claims } as State, experimentId, user_id, time + 1)
  claims.set(key, user_id)
  return time
}

const repeated = ({ events }: State, { back }: Repeat): Loose | null => events[events.length - 1 - back] ?? null

/** Sends events one by one or in batches, and folds in between. */
async function deliver({ app }: State, arrivals: readonly (Fold | Loose | null)[], random: Random) {
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
      if (rejected > 0) throw new Error(`A batch holds rejected events: ${JSON.stringify(results)}`)
    }
  }
}

/** Folds everything, or runs one pass with very small limits. */
async function fold({ platform }: ClockedApp, { all }: Fold, random: Random) {
  if (all) await platform.reporting.totals.catchUp()
  else await foldOnce(platform.orm, { events: 1 + random.below(6), users: 1 + random.below(3) }, TIME_ZONE)
}

async function perform(state: State, action: Action) {
  const { app, answers } = state
  state.clock += action.after
  state.moments.push(state.clock)
  await app.setClock(state.clock)
  if (action.kind === 'ask') {
    const { id } = at(state.experiments, action.experiment)
    await compareResults(app, id, action.type)
    await compareWithRaw(app, id, at(['exclude', 'first'] as const, state.moments.length))
    return
  }
  for (const { method, path, body, allowed } of requestsOf(state, action)) {
    const { status, body: answer } = await app.api.call(method, path, body)
    if (status !== 200 && !allowed.includes(status))
      throw new Error(`${method} ${path}: ${status} ${JSON.stringify(answer)}`)
    answers.push(`${method} ${path}: ${status}`)
    if (action.kind === 'profile' && status === 200) break
  }
}

type Request = { method: string; path: string; body?: object; allowed: number[] }

function requestsOf(state: State, action: Exclude<Action, { kind: 'ask' }>): Request[] {
  const user_id = 'user' in action ? userId(state, action.user) : ''
  const user = `/api/users/${encodeURIComponent(user_id)}`
  const experiment =
    'experiment' in action ? at(state.experiments, action.experiment) : { id: 0, key: '', variants: [], metrics: [] }
  const path = `/api/experiments/${experiment.id}`
  const put = (variantId: number, body: object): Request => ({
    method: 'PUT',
    path: `${path}/variants/${variantId}`,
    body,
    allowed: [400, 409],
  })
  switch (action.kind) {
    case 'check': {
      const body = {
        user_id,
        experiment_ids: action.experiments.map((index) => at(state.experiments, index).id),
        expose: action.expose,
        attributes: at(ATTRIBUTES, action.attributes),
      }
      return [{ method: 'POST', path: '/api/experiments/check-eligibility', body, allowed: [] }]
    }
    case 'allocate': {
      const shares = at(SHARES, action.shares)
      const set = (percents: readonly number[]) =>
        experiment.variants.map((id, index) => put(id, { percent_allocated: percents[index] }))
      return [...set([0, 0, 0]), ...set(shares)]
    }
    case 'enable':
      return [put(at(experiment.variants, action.variant), { enabled: action.enabled })]
    case 'new run':
      return [{ method: 'POST', path: `${path}/runs`, body: { confirm: experiment.key }, allowed: [409] }]
    case 'start':
    case 'pause':
    case 'resume':
    case 'complete':
      return [{ method: 'POST', path: `${path}/${action.kind}`, allowed: [409] }]
    case 'join': {
      const body = { alias_id: userId(state, action.alias), user_id }
      return [{ method: 'POST', path: '/api/users/alias', body, allowed: [400, 409] }]
    }
    case 'erase':
      return [{ method: 'DELETE', path: user, allowed: [404] }]
    case 'force': {
      const body = { variant_id: at(experiment.variants, action.variant) }
      return [{ method: 'PUT', path: `${path}/overrides/${encodeURIComponent(user_id)}`, body, allowed: [] }]
    }
    case 'release':
      return [{ method: 'DELETE', path: `${path}/overrides/${encodeURIComponent(user_id)}`, allowed: [404] }]
    case 'exclude':
      return [{ method: 'POST', path: `${path}/exclusions`, body: { user_ids: [user_id] }, allowed: [] }]
    case 'include':
      return [{ method: 'POST', path: `${path}/exclusions/remove`, body: { user_ids: [user_id] }, allowed: [] }]
    case 'attach': {
      const metric = at(state.metrics, action.metric)
      if (!experiment.metrics.includes(metric)) experiment.metrics.push(metric)
      return [{ method: 'PUT', path: `${path}/metrics`, body: attachments(experiment), allowed: [] }]
    }
    case 'profile': {
      const profile = at(PROFILES, action.profile)
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
