import { setTimeout as sleep } from 'node:timers/promises'
import { createRandom, type Random } from '../../lab/random.ts'
import type { Loose } from '../../support/api.ts'
import type { ClockedApp } from '../../totals/set-clock.ts'
import { actInWhole, WHOLE, WHOLE_SETTINGS, WHOLE_SHARES } from './whole.ts'

/** Simulates three experiments over the same users, with known effects. All events are sent over HTTP in random order. */

const HOUR = 3_600_000
const DAY = 24 * HOUR
const BEGINNING = Date.UTC(2026, 2, 2, 10)
const USERS = 600
const BATCH = 500

type Variants = Record<string, number>
export type Simulation = {
  /** An experiment with one allocation period. */
  steady: { id: number; variants: Variants }
  /** An experiment with two allocation periods. */
  moved: { id: number; variants: Variants }
  /** An experiment that is decided on: see `WHOLE`. */
  whole: { id: number; variants: Variants }
  metrics: Record<string, number>
  ended: number
}

/** Metrics of every kind. */
const DEFINITIONS: Record<string, object> = {
  buyers: { type: 'proportion', event_type: 'purchase' },
  'big-buyers': {
    type: 'proportion',
    event_type: 'purchase',
    filter: { amount: { $gte: 20 } },
    window_hours: 72,
    covariate_days: 0,
  },
  views: { type: 'count', event_type: 'view', covariate_days: 7 },
  revenue: { type: 'sum', event_type: 'purchase', property: 'amount' },
  'capped-revenue': { type: 'sum', event_type: 'purchase', property: 'amount', window_hours: 168, cap: 0.95 },
  'gift-revenue': { type: 'sum', event_type: 'purchase', property: 'amount', filter: { kind: 'gift' }, any_tag: true },
  'other-orders': {
    type: 'count',
    event_type: 'purchase',
    filter: { kind: { $ne: 'gift' } },
    window_hours: 30,
    covariate_days: 0,
  },
  'order-value': { type: 'mean', event_type: 'purchase', property: 'amount', covariate_days: 0 },
  'revenue-per-view': {
    type: 'ratio',
    numerator: { event_type: 'purchase', property: 'amount' },
    denominator: { event_type: 'view' },
  },
  'back-on-day-2': { type: 'retention', event_type: 'view', day: 2 },
  latency: { type: 'quantile', event_type: 'request', property: 'ms', quantile: 0.9, window_hours: 120 },
}

export async function simulate(app: ClockedApp): Promise<Simulation> {
  const { api } = app
  const random = createRandom(2026)
  await app.setClock(BEGINNING - 20 * DAY)
  const metrics: Record<string, number> = {}
  for (const [key, definition] of Object.entries(DEFINITIONS))
    metrics[key] = (await api.ok('POST', '/api/metrics', { key, name: key, definition })).id
  const shares = { control: 34, blue: 33, green: 33 }
  const settings = { dimensions: ['plan'], auto_start: false, planned_users: 2000 }
  const steady = await api.makeExperiment(shares, settings)
  const moved = await api.makeExperiment(shares, settings)
  for (const { id } of [steady, moved])
    await api.ok('PUT', `/api/experiments/${id}/metrics`, {
      metrics: Object.values(metrics).map((metric_id, index) => ({
        metric_id,
        role: index === 0 ? 'primary' : index < 8 ? 'secondary' : 'guardrail',
      })),
    })
  const whole = await makeWhole(app)
  const experiments = [steady, moved, whole]
  const events: Loose[] = []
  const record = (user_id: string, type: string, at: number, properties: object | null, tag: number | null = null) =>
    events.push({
      user_id,
      type,
      timestamp: new Date(at).toISOString(),
      properties,
      attributes: {},
      ...(tag === null ? {} : { experiment_id: tag }),
    })

  for (let user = 0; user < USERS; user++) act(random, `user ${user}`, BEGINNING - 18 * DAY, 18 * DAY, 1, record)
  await send(app, events.splice(0), random)

  await app.setClock(BEGINNING)
  for (const { id } of experiments) await api.ok('POST', `/api/experiments/${id}/start`)
  let clock = BEGINNING
  const others = createRandom(2027)
  const expose = async (user: number) => {
    clock += 11 * 60_000
    await app.setClock(clock)
    // Every fortieth user checks twice: the first id becomes an alias of the second.
    let variant: number | undefined
    let first: number | undefined
    for (const user_id of user % 40 === 7 ? [`visitor ${user}`, `user ${user}`] : [`user ${user}`]) {
      // Two assignments at one time would leave open which is the first.
      if (first !== undefined) await app.setClock(clock + 60_000)
      const { eligible_experiment_ids } = await api.ok('POST', '/api/experiments/check-eligibility', {
        user_id,
        experiment_ids: experiments.map(({ id }) => id),
        attributes: { plan: user % 3 === 0 ? 'gold' : 'free', country_code: user % 2 === 0 ? 'US' : 'DE' },
      })
      variant = eligible_experiment_ids[steady.id]?.variant_id
      first ??= eligible_experiment_ids[whole.id]?.variant_id
    }
    const name = Object.keys(whole.variants).find((key) => whole.variants[key] === first) ?? 'control'
    actInWhole(others, `user ${user}`, clock, name, record)
    const effect = variant === steady.variants.green ? GREEN_EFFECT : 1
    act(random, `user ${user}`, clock, 11 * DAY, effect, record, [steady.id, moved.id, null, null, null], clock)
  }
  for (let user = 0; user < USERS; user++) {
    if (user === USERS / 2) await api.allocate(moved, { control: 20, blue: 40, green: 40 })
    const allocated = WHOLE_SHARES.find(([from]) => from === user && user > 0)
    if (allocated) await api.allocate(whole, allocated[1])
    await expose(user)
  }
  for (let user = 7; user < USERS; user += 40)
    await api.ok('POST', '/api/users/alias', { alias_id: `visitor ${user}`, user_id: `user ${user}` })

  const ended = clock + 3 * DAY
  const late = events.filter(() => random.uniform() < 0.2)
  const inTime = events.filter((event) => !late.includes(event))
  const [before, after] = [
    inTime.filter(({ timestamp }) => Date.parse(timestamp) < ended),
    inTime.filter(({ timestamp }) => Date.parse(timestamp) >= ended),
  ]
  await app.setClock(ended)
  await send(app, before, random)
  for (const { id } of experiments) await api.ok('POST', `/api/experiments/${id}/complete`)
  // All windows are over. Half a day later the platform would freeze the runs, which closes them to late events.
  const asked = ended + 7.5 * DAY
  await app.setClock(asked)
  const sent = [...after, ...late].filter(({ timestamp }) => Date.parse(timestamp) < asked)
  await send(app, sent, random)
  await waitUntilExportable(app)
  return { steady, moved, whole, metrics, ended }
}

async function makeWhole({ api }: ClockedApp) {
  const whole = await api.makeExperiment(WHOLE_SHARES[0]?.[1], WHOLE_SETTINGS)
  const metrics: object[] = []
  for (const [key, { role, definition }] of Object.entries(WHOLE)) {
    const { id } = await api.ok('POST', '/api/metrics', { key, name: key, definition })
    metrics.push({ metric_id: id, role })
  }
  await api.ok('PUT', `/api/experiments/${whole.id}/metrics`, { metrics })
  return whole
}

/** Waits until exports hold all events: an open transaction anywhere in the cluster holds the newest ones back. */
async function waitUntilExportable({ platform }: ClockedApp) {
  const open = 'select 1 from events e where e.xid >= recorded_horizon() limit 1'
  for (let waited = 0; waited < 600; waited++) {
    if ((await platform.orm.em.fork().execute(open)).length === 0) return
    await sleep(50)
  }
  throw new Error('A transaction that began before the events were stored does not end')
}

/** The factor by which the steady experiment's green variant raises the amount of a purchase. */
export const GREEN_EFFECT = 1.5

type RecordEvent = (user_id: string, type: string, at: number, properties: object | null, tag?: number | null) => void

/** Records a user's purchases, views and requests in a time, some of them exactly at the edges of windows. */
function act(
  random: Random,
  user_id: string,
  from: number,
  length: number,
  effect: number,
  record: RecordEvent,
  tags: (number | null)[] = [null],
  exposed?: number,
) {
  const activity = 0.5 + random.uniform()
  const times = (mean: number) =>
    Array.from(
      { length: Math.floor(mean * activity * 2 * random.uniform()) },
      () => from + Math.floor(random.uniform() * length),
    )
  const tag = () => tags[Math.floor(random.uniform() * tags.length)] ?? null
  const amount = () => Math.round(100 * effect * (5 + 30 * activity * random.uniform())) / 100
  const edges =
    exposed === undefined || random.uniform() > 0.2
      ? []
      : [exposed, exposed - 1, exposed + 72 * HOUR, exposed + 48 * HOUR, exposed - 7 * DAY]
  for (const at of [...times(3), ...edges])
    record(
      user_id,
      'purchase',
      at,
      random.uniform() < 0.05
        ? { amount: 'much' }
        : { amount: amount(), ...(random.uniform() < 0.3 ? { kind: 'gift' } : { kind: 'own' }) },
      tag(),
    )
  for (const at of [...times(5), ...edges]) record(user_id, 'view', at, null, tag())
  for (const at of times(6))
    record(user_id, 'request', at, { ms: Math.round(1000 * Math.exp(1 + activity + random.normal())) / 1000 }, tag())
}

async function send({ api }: ClockedApp, events: readonly Loose[], random: Random) {
  const shuffled = events
    .map((event) => ({ event, rank: random.uniform() }))
    .sort((one, other) => one.rank - other.rank)
  for (let start = 0; start < shuffled.length; start += BATCH) {
    const { rejected, results } = await api.ok('POST', '/api/events/batch', {
      events: shuffled.slice(start, start + BATCH).map(({ event }) => event),
    })
    if (rejected > 0)
      throw new Error(
        `Events are rejected: ${JSON.stringify(results.find(({ status }: Loose) => status === 'rejected'))}`,
      )
  }
}
