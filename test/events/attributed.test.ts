import { expect, test } from 'vitest'
import type { Loose, TestApi } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'

const ATTRIBUTED = 'count=attributed'
const TYPES = ['buy', 'visit']
const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0)

/** Assigns users in one run, and records events that count in its results and events that do not. */
async function recordSome(api: TestApi, settings: object = {}) {
  const experiment = await api.makeExperiment(undefined, settings)
  const other = await api.makeExperiment()
  const id = (name: string) => `${name} of ${experiment.id}`
  const buy = (name: string, event: object = {}) =>
    api.record({ user_id: id(name), type: 'buy', properties: { value: 2 }, ...event })
  await buy('u0')
  for (let index = 0; index < 12; index++) await api.variantOf(id(`u${index}`), experiment)
  for (const name of ['u0', 'u0', 'u1', 'u2', 'u3']) await buy(name)
  await buy('u4', { experiment_id: experiment.id })
  await buy('u5', { experiment_id: experiment.id, variant_id: experiment.variants.control })
  await buy('u6', { experiment_id: other.id })
  await buy('stranger')
  await buy('u7', { timestamp: '2026-01-01T00:00:00Z' })
  await api.ok('POST', '/api/users/alias', { user_id: id('u8'), alias_id: id('device') })
  await buy('device', { type: 'visit' })
  await buy('u9')
  await api.ok('POST', `/api/experiments/${experiment.id}/exclusions`, { user_ids: [id('u9')] })
  for (const name of ['control', 'treatment'] as const)
    await buy('two', { experiment_id: experiment.id, variant_id: experiment.variants[name] })
  return experiment
}

/** Adds up the events of a series by variant and type, such as `7 buy`. */
function totalsOf({ series }: Loose): Record<string, number> {
  const added = series.map(({ variant_id, type, points }: Loose) => [
    `${variant_id} ${type}`,
    sum(points.map(({ events }: Loose) => events)),
  ])
  return Object.fromEntries(added.filter(([, events]: [string, number]) => events > 0))
}

/** Reads how many events results count, by variant and type. */
async function countedIn(api: TestApi, experiment: { id: number }, question: object = {}) {
  const { metrics } = await api.results(experiment, {
    conversion_event_type: 'buy',
    event_types: ['visit'],
    ...question,
  })
  const all = metrics.flatMap(({ event_type, key, variants }: Loose) =>
    variants.map(({ variant_id, events }: Loose) => [`${variant_id} ${event_type ?? key.split(':')[1]}`, events]),
  )
  return Object.fromEntries(all.filter(([, events]: [string, number]) => events > 0)) as Record<string, number>
}

async function listAll(api: TestApi, path: string) {
  const events: Loose[] = []
  let pages = 0
  for (let next: string | undefined = path; next; pages++) {
    const { status, body, headers }: Loose = await api.call('GET', next)
    if (status !== 200) throw new Error(JSON.stringify(body))
    events.push(...body)
    next = /<(.*)>/.exec(headers.get('link') ?? '')?.[1]
  }
  return { events, pages }
}
const byVariantAndType = (events: Loose[]) =>
  Object.fromEntries(
    [...Map.groupBy(events, (event) => `${event.attributed_variant_id} ${event.type}`)].map(([key, of]) => [
      key,
      of.length,
    ]),
  )

onOneDatabase('the events that results count', (app) => {
  test.each([
    ['exclude', 7],
    ['first', 9],
  ])('are those of the series and of the list, before and after folding, with crossovers %s', async (rule, all) => {
    const { api, platform } = app()
    const experiment = await recordSome(api, { crossovers: rule })
    const query = TYPES.map((type) => `event_types=${type}`).join('&')
    for (const folded of [false, true]) {
      if (folded) await platform.reporting.totals.catchUp()
      const counted = await countedIn(api, experiment)
      expect(sum(Object.values(counted))).toBe(all + 1)
      const series = await api.ok('GET', `/api/experiments/${experiment.id}/series?interval=hour&${query}`)
      expect(series.count).toBe('attributed')
      expect(totalsOf(series)).toEqual(counted)
      const { events, pages } = await listAll(api, `/api/events/${experiment.id}?${ATTRIBUTED}&${query}&limit=3`)
      expect(byVariantAndType(events)).toEqual(counted)
      expect(pages).toBe(Math.floor((all + 1) / 3) + 1)
      const ids = events.map(({ id }) => id)
      expect(ids).toEqual([...new Set(ids)].sort((one, other) => one - other))
    }
  })

  test('are filtered by variant, user and time as those that name the experiment', async () => {
    const { api } = app()
    const experiment = await recordSome(api)
    const list = async (query: string) => (await listAll(api, `/api/events/${experiment.id}?${query}`)).events
    const all = await list(ATTRIBUTED)
    const { control } = experiment.variants
    expect(await list(`${ATTRIBUTED}&variant_id=${control}`)).toEqual(
      all.filter(({ attributed_variant_id }) => attributed_variant_id === control),
    )
    const [one] = all
    expect(await list(`${ATTRIBUTED}&user_ids=${encodeURIComponent(one.user_id)}`)).toEqual(
      all.filter(({ user_id }) => user_id === one.user_id),
    )
    expect(await list(`${ATTRIBUTED}&end_time=${one.timestamp}`)).toEqual([])
    expect(await list(`${ATTRIBUTED}&start_time=${one.timestamp}`)).toEqual(all)
    const named = await list('')
    expect(named).toEqual(await list('count=named_only'))
    expect(named.map(({ experiment_id }) => experiment_id)).toEqual(Array(4).fill(experiment.id))
    const series = await api.ok('GET', `/api/experiments/${experiment.id}/series?count=named_only`)
    expect(sum(Object.values(totalsOf(series)))).toBe(4)
  })

  test('are found behind thousands of events that do not count, whichever index finds them', async () => {
    const { api, platform } = app()
    const experiment = await recordSome(api)
    await platform.orm.em.fork().execute(
      `insert into events (user_id, type, timestamp, received_at)
       select 'stranger', (array['visit', 'scroll'])[1 + i % 2], now(), now() from generate_series(1, 9000) i`,
    )
    await api.record({ user_id: `u0 of ${experiment.id}`, type: 'buy' })
    const list = (types: string[]) =>
      listAll(
        api,
        `/api/events/${experiment.id}?${[ATTRIBUTED, ...types.map((type) => `event_types=${type}`)].join('&')}`,
      )
    const { events } = await list([])
    expect(events.map(({ type }) => type)).toEqual([...Array(7).fill('buy'), 'visit', 'buy'])
    const many = Array.from({ length: 10 }, (_, index) => `type-${index}`)
    for (const types of [TYPES, [...TYPES, ...TYPES, ...many], ['visit', 'buy', 'scroll']])
      expect((await list(types)).events).toEqual(events)
    expect((await list(['buy'])).events).toEqual(events.filter(({ type }) => type === 'buy'))
    expect((await list(many)).events).toEqual([])
  })

  test('are those of every run, each until its end', async () => {
    const { api } = app()
    const experiment = await recordSome(api)
    const path = `/api/experiments/${experiment.id}`
    await api.ok('POST', `${path}/complete`, {})
    await api.record({ user_id: `u1 of ${experiment.id}`, type: 'buy' })
    await api.ok('POST', `${path}/runs`)
    const again = `u1 of ${experiment.id}`
    await api.variantOf(again, experiment)
    await api.record({ user_id: again, type: 'buy' })
    const runs = [await countedIn(api, experiment, { run: 1 }), await countedIn(api, experiment, { run: 2 })]
    expect(runs.map((run) => sum(Object.values(run)))).toEqual([8, 1])
    expect(sum(Object.values(totalsOf(await api.ok('GET', `${path}/series`))))).toBe(9)
    expect((await listAll(api, `/api/events/${experiment.id}?${ATTRIBUTED}`)).events).toHaveLength(9)
    expect(await api.call('GET', `/api/events/${experiment.id}?count=all`)).toMatchObject({ status: 400 })
  })
})
