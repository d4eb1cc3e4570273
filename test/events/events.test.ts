import { describe, expect, test } from 'vitest'
import type { Loose, TestApi } from '../support/api.ts'
import { onEachDatabase } from '../support/app.ts'

const users = (results: Loose) => results.variants.map((row: Loose) => row.total_users)
const conversions = (results: Loose) => results.variants.map((row: Loose) => row.conversions)
const sum = (counts: number[]) => counts.reduce((total, count) => total + count, 0)
const minutesAgo = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString()

/** Creates a running experiment that started long enough ago for past events to belong to its run. */
async function startedAnHourAgo(api: TestApi) {
  const experiment = await api.makeExperiment()
  const { control } = experiment.variants
  await api.record({
    user_id: `starter ${experiment.id}`,
    experiment_id: experiment.id,
    variant_id: control,
    type: 'x',
    timestamp: minutesAgo(60),
  })
  return experiment
}

onEachDatabase('events', (app) => {
  test('an event is answered as it is stored: its time in UTC, and null for fields without a value', async () => {
    const { api } = app()
    const event = await api.record({ user_id: 'plain', type: 'click' })
    expect(event).toEqual({
      id: expect.any(Number),
      user_id: 'plain',
      experiment_id: null,
      variant_id: null,
      type: 'click',
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      properties: null,
    })
    const given = await api.record({ user_id: 'plain', type: 'click', timestamp: '2026-11-01T12:00:00.5+02:00' })
    expect(given.timestamp).toBe('2026-11-01T10:00:00.500Z')
  })

  test('an event of an unknown user is a 404, but is accepted with attributes or after such an event', async () => {
    const { api } = app()
    const event = { user_id: 'visitor', type: 'click' }
    expect((await api.call('POST', '/api/events', event)).status).toBe(404)
    expect((await api.call('POST', '/api/events', { ...event, attributes: {} })).status).toBe(200)
    expect((await api.call('POST', '/api/events', event)).status).toBe(200)
  })

  test('an unknown experiment is a 404; a variant of another experiment or without one is a 400', async () => {
    const { api } = app()
    const [one, other] = [await api.makeExperiment(), await api.makeExperiment()]
    const post = async (event: object) =>
      (await api.call('POST', '/api/events', { user_id: 'v', type: 't', attributes: {}, ...event })).status
    expect(await post({ experiment_id: 2_000_000_000 })).toBe(404)
    expect(await post({ experiment_id: one.id, variant_id: other.variants.control })).toBe(400)
    expect(await post({ variant_id: one.variants.control })).toBe(400)
    expect(await post({ timestamp: new Date(Date.now() + 6 * 60_000).toISOString() })).toBe(400)
    expect(await post({ timestamp: '1999-12-31T23:59:59Z' })).toBe(400)
  })

  test('the time of an event is corrected by the difference of the sender’s clock', async () => {
    const { api } = app()
    const ahead = Date.now() + 3_600_000
    const event = await api.record({
      user_id: 'skewed',
      type: 'click',
      timestamp: new Date(ahead - 10_000).toISOString(),
      sent_at: new Date(ahead).toISOString(),
    })
    const age = Date.now() - new Date(event.timestamp).getTime()
    expect(age).toBeGreaterThan(8_000)
    expect(age).toBeLessThan(20_000)

    const behind = new Date(Date.now() - 1000).toISOString()
    const before = Date.now()
    const slightly = await api.record({ user_id: 'skewed', type: 'click', timestamp: behind, sent_at: behind })
    expect(new Date(slightly.timestamp).getTime()).toBeGreaterThanOrEqual(before)
  })

  test('a refused time is named as sent_at corrects it', async () => {
    const send = (timestamp: string, sent_at: string) =>
      app().api.call('POST', '/api/events', { user_id: 'v', type: 't', attributes: {}, timestamp, sent_at })
    const lateClock = await send(new Date().toISOString(), '2020-01-01T00:00:00Z')
    expect(lateClock.status).toBe(400)
    expect(lateClock.body.message).toMatch(
      /^Invalid input: timestamp: 2\S+Z, corrected by sent_at 2020-01-01T00:00:00.000Z to 2\S+Z, is more than 5 minutes ahead of the server's clock$/,
    )
    const fastClock = await send(new Date().toISOString(), '2200-01-01T00:00:00Z')
    expect(fastClock.body.message).toMatch(/corrected by sent_at 2200-\S+ to 1\S+, is before the year 2000/)
  })

  test('an exposure that would expose nobody is refused: without an experiment, or misspelt', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const event = { user_id: 'unexposed', attributes: {} }
    const alone = await api.call('POST', '/api/events', { ...event, type: '$exposure' })
    expect(alone.status).toBe(400)
    const fault = 'experiment_id: must be given with the type $exposure: name the experiment whose variant the user met'
    expect(alone.body.message).toBe(`Invalid input: ${fault}`)
    const types = ['$exposed', '$expose', '$Exposure', '$exposures', '$exposre', '$pageview', '$exception', 'exposure']
    const events = types.map((type) => ({ ...event, experiment_id: experiment.id, type }))
    const { results } = await api.ok('POST', '/api/events/batch', {
      events: [{ ...event, type: '$exposure' }, ...events],
    })
    const misspelt = (type: string) => `Invalid event: type: ${type} exposes nobody (did you mean $exposure?)`
    expect(results.map(({ message }: Loose) => message)).toEqual([
      `Invalid event: ${fault}`,
      ...types.slice(0, 5).map(misspelt),
      null,
      null,
      null,
    ])
  })

  test('a whole number beyond 2^53 is refused, because its last digits would be lost', async () => {
    const { api } = app()
    const post = (value: string) =>
      api.call(
        'POST',
        '/api/events',
        `{"user_id": "digits", "type": "t", "attributes": {}, "properties": {"order": {"ids": [${value}]}}}`,
      )
    for (const value of ['9007199254740991', '-9007199254740991', '0.12345678901234567890', '1e21', '-1e300', '5.0'])
      expect([value, (await post(value)).status]).toEqual([value, 200])
    for (const value of ['9007199254740993', '-9007199254740993', '123456789012345678', '9'.repeat(21), '9'.repeat(40)])
      expect(await post(value), value).toMatchObject({
        status: 400,
        body: { issues: [{ path: ['properties'], message: expect.stringContaining('send them as strings') }] },
      })
    expect((await post(`"${'9'.repeat(40)}"`)).body).toMatchObject({ properties: { order: { ids: ['9'.repeat(40)] } } })
  })

  describe('an event id', () => {
    test('lets a repeat answer the stored event, marked as a duplicate, and count once', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment()
      const event = {
        user_id: 'twice',
        experiment_id: experiment.id,
        type: 'buy',
        event_id: 'order-1',
        properties: { value: 5 },
      }
      const first = await api.record(event)
      expect(await api.record(event)).toEqual({ ...first, duplicate: true })
      const again = await api.record({ ...event, type: 'changed', properties: null })
      expect(again).toEqual({
        ...first,
        duplicate: true,
        message: expect.stringContaining(
          'recorded before with other contents (type, properties); this one was not stored',
        ),
      })
      const stored = await api.ok('POST', `/api/events/${experiment.id}`, { user_ids: ['twice'] })
      const { outside_run, ...listed } = first
      expect(outside_run).toBe(true)
      expect(stored).toEqual([listed])
    })

    test('tells the sender of another event, in a batch too, by what this event differs', async () => {
      const { api } = app()
      const event = {
        user_id: 'reuses',
        type: 'buy',
        event_id: 'order-1',
        timestamp: '2026-01-05T10:00:00.250Z',
        properties: { value: 5, none: -0, large: 1e300, list: [{ a: 1, b: [] }] },
        attributes: {},
      }
      await api.record(event)
      const { properties, timestamp: _, ...rest } = event
      const reordered = { list: [{ b: [], a: 1 }], large: 1e300, none: 0, value: 5.0 }
      const cases: [object, string | null][] = [
        [event, null],
        [{ ...event, properties: reordered }, null],
        [{ ...event, timestamp: '2026-01-05T11:00:00.25+01:00' }, null],
        [{ ...rest, properties }, null],
        [{ ...event, sent_at: '2026-01-05T10:00:01Z' }, null],
        [{ ...event, type: 'sell' }, '(type)'],
        [{ ...event, timestamp: '2026-01-05T10:00:00.251Z' }, '(timestamp)'],
        [{ ...event, properties: { ...properties, value: 6 } }, '(properties)'],
        [{ ...event, properties: null, type: 'sell' }, '(type, properties)'],
      ]
      const { results, duplicates } = await api.ok('POST', '/api/events/batch', { events: cases.map(([sent]) => sent) })
      expect(duplicates).toBe(cases.length)
      for (const [index, [sent, differs]] of cases.entries())
        expect(results[index].message, JSON.stringify(sent)).toEqual(
          differs === null ? null : expect.stringContaining(`recorded before with other contents ${differs}`),
        )
      const both = [
        { user_id: 'reuses', type: 'first', event_id: 'in one batch' },
        { user_id: 'reuses', type: 'second', event_id: 'in one batch' },
      ]
      const [, second] = (await api.ok('POST', '/api/events/batch', { events: both })).results
      expect(second).toMatchObject({ status: 'duplicate', message: expect.stringContaining('(type)') })
    })

    test('belongs to one user, and 50 simultaneous repeats store one event', async () => {
      const { api } = app()
      const answers = await Promise.all(
        Array.from({ length: 50 }, () => api.record({ user_id: 'racer', type: 'buy', event_id: 'same' })),
      )
      expect(new Set(answers.map((answer) => answer.id)).size).toBe(1)
      expect(answers.filter((answer) => !answer.duplicate).length).toBe(1)
      const other = await api.record({ user_id: 'rac', type: 'buy', event_id: 'ersame' })
      expect(other.duplicate).toBeUndefined()
    })
  })

  describe('a batch', () => {
    test('stores the valid events and names the fault of each invalid one', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment()
      const good = { user_id: 'batcher', experiment_id: experiment.id, type: 'batched', event_id: 'b1', attributes: {} }
      const answer = await api.ok('POST', '/api/events/batch', {
        events: [
          good,
          { ...good, type: 7 },
          good,
          { user_id: 'nobody known', type: 'x' },
          'no object',
          { ...good, event_id: 'b2' },
        ],
      })
      expect(answer).toMatchObject({ accepted: 2, duplicates: 1, rejected: 3 })
      const statuses = answer.results.map((result: Loose) => result.status)
      expect(statuses.filter((status: string) => status !== 'rejected').sort()).toEqual([
        'accepted',
        'accepted',
        'duplicate',
      ])
      expect(answer.results[1]).toMatchObject({ status: 'rejected', issues: [{ path: ['type'] }] })
      expect(answer.results[3]).toMatchObject({
        status: 'rejected',
        message: 'User nobody known is unknown: pass attributes (may be {}) with the call, or create the user first',
      })
      expect(await api.ok('GET', `/api/events/${experiment.id}?event_types=batched`)).toHaveLength(2)
    })

    test('rejects alone an event with a prototype key, on every way in, and whatever else is wrong with it', async () => {
      const { api, url } = app()
      const good = (user_id: string) => JSON.stringify({ user_id, type: 'alone', attributes: {} })
      const bad = [
        '{"user_id": "p", "type": "alone", "attributes": {}, "__proto__": {"x": 1}}',
        '{"user_id": "p", "type": "alone", "attributes": {}, "properties": {"a": [{"__proto__": null}]}}',
        '{"user_id": "p", "type": "alone", "attributes": {"constructor": {"prototype": {"x": 1}}}}',
        '{"user_id": "p", "type": "alone", "attributes": {}, "properties": {"\\u005f_proto__": 1}}',
        '{"user_id": "p", "type": "alone", "attributes": {}, "properties": {"id": 9007199254740993}}',
        '{"user_id": "p", "type": "alone", "attributes": {}, "properties": {"id": 99999999999999999999999999}}',
        '{"user_id": "p", "type": "alone", "attributes": {}, "properties": {"n": 1e400}}',
        '{"user_id": "p", "type": "alone", "attributes": {}, "properties": {"text": "\\ud800"}}',
        '{"user_id": "p", "type": "\\u0000", "attributes": {}}',
        '{"user_id": "p", "type": "alone", "attributes": {}, "timestamp": "2026-02-30T00:00:00Z"}',
        `{"user_id": "p", "type": "alone", "attributes": {}, "properties": {"deep": ${'['.repeat(50)}${']'.repeat(50)}}}`,
        'null',
        '[]',
        '7',
      ]
      const events = [good('first'), ...bad, good('last')]
      const expected = ['accepted', ...bad.map(() => 'rejected'), 'accepted']
      const answer = await api.ok('POST', '/api/events/batch', `{"events": [${events.join()}]}`)
      expect(answer.results.map(({ status }: Loose) => status)).toEqual(expected)
      expect(answer.results[1].message).toContain('__proto__')
      for (const result of answer.results.slice(1, -1)) expect(result.message).toBeTruthy()
      const authorization = `Bearer ${api.token}`
      const byTrpc = await fetch(`${url}/trpc/events.recordBatch`, {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/json' },
        body: `{"events": [${events.join()}]}`,
      })
      const { result } = (await byTrpc.json()) as Loose
      expect(result.data.results.map(({ status }: Loose) => status)).toEqual(expected)
      const uploaded = await fetch(`${url}/api/events/import`, {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/x-ndjson' },
        body: events.join('\n'),
      })
      const reports = (await uploaded.text())
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
      expect(reports.at(-1)).toMatchObject({ done: true, accepted: 2, rejected: bad.length })
      for (const outside of ['{"events": [], "__proto__": {}}', `{"__proto__": [${good('x')}]}`, '[{"__proto__": 1}]'])
        expect((await api.call('POST', '/api/events/batch', outside)).status).toBe(400)
      expect((await api.call('POST', '/api/events', bad[0])).status).toBe(400)
      expect(({} as Loose).x).toBeUndefined()
    })

    test('of more than 1000 events is refused as a whole', async () => {
      const { api } = app()
      const events = Array.from({ length: 1001 }, (_, index) => ({
        user_id: 'bulk',
        type: 'x',
        event_id: `${index}`,
        attributes: {},
      }))
      expect((await api.call('POST', '/api/events/batch', { events })).status).toBe(400)
      expect(await api.ok('POST', '/api/events/batch', { events: events.slice(1) })).toMatchObject({ accepted: 1000 })
    })
  })

  describe('the list of an experiment’s events', () => {
    test('filters by time, variant, types and users, as POST and as GET, and by ascending id', async () => {
      const { api } = app()
      const experiment = await startedAnHourAgo(api)
      const experiment_id = experiment.id
      const at = (minutes: number) => ({ experiment_id, timestamp: minutesAgo(minutes) })
      const early = await api.record({
        user_id: 'f1',
        type: 'click',
        variant_id: experiment.variants.control,
        ...at(30),
      })
      const late = await api.record({
        user_id: 'f2',
        type: 'view',
        variant_id: experiment.variants.treatment,
        ...at(10),
      })
      const list = async (filter: object) =>
        (await api.ok('POST', `/api/events/${experiment_id}`, filter)).map((event: Loose) => event.id)
      expect(await list({ event_types: ['click', 'view'] })).toEqual([early.id, late.id])
      expect(await list({ start_time: minutesAgo(20) })).toEqual([late.id])
      expect(await list({ end_time: minutesAgo(20), event_types: ['click'] })).toEqual([early.id])
      expect(await list({ end_time: early.timestamp, event_types: ['click'] })).toEqual([])
      expect(await list({ variant_id: experiment.variants.treatment })).toEqual([late.id])
      expect(await list({ user_ids: ['f1', 'f2'], event_types: null, variant_id: null })).toEqual([early.id, late.id])
      const twin = await api.ok('GET', `/api/events/${experiment_id}?event_types=click&event_types=view&user_ids=f2`)
      expect(twin.map((event: Loose) => event.id)).toEqual([late.id])
      expect(
        (await api.call('POST', `/api/events/${experiment_id}`, { start_time: minutesAgo(1), end_time: minutesAgo(2) }))
          .status,
      ).toBe(400)
      expect((await api.call('POST', '/api/events/2000000000')).status).toBe(404)
    })

    test('comes in pages without gaps, each with a link to the next', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment()
      for (let index = 0; index < 5; index++)
        await api.record({ user_id: 'pager', experiment_id: experiment.id, type: `t${index}` })
      const seen: string[] = []
      let next: string | undefined = `/api/events/${experiment.id}?limit=2`
      while (next) {
        const page: Loose = await api.call('GET', next)
        seen.push(...page.body.map((event: Loose) => event.type))
        next = /<(.*)>/.exec(page.headers.get('link') ?? '')?.[1]
      }
      expect(seen).toEqual(['t0', 't1', 't2', 't3', 't4'])
    })
  })

  describe('attribution', () => {
    test('an event that names a variant decides and exposes a user without an assignment', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment()
      const { treatment } = experiment.variants
      await api.record({
        user_id: 'elsewhere',
        experiment_id: experiment.id,
        variant_id: treatment,
        type: 'conversion',
      })
      expect(await api.ok('GET', `/api/experiments/${experiment.id}`)).toMatchObject({ status: 'running' })
      expect(await api.results(experiment)).toMatchObject({ externally_decided: 1, crossovers: 0 })
      expect(conversions(await api.results(experiment))).toEqual([0, 1])
      expect(await api.variantOf('elsewhere', experiment)).toBe(treatment)
    })

    test('a user with events of two variants, in any order, is a crossover and excluded from results', async () => {
      const { api } = app()
      const experiment = await startedAnHourAgo(api)
      const seen = (user_id: string, variant: string, minutes: number) => ({
        user_id,
        experiment_id: experiment.id,
        variant_id: experiment.variants[variant],
        type: 'conversion',
        timestamp: minutesAgo(minutes),
        attributes: {},
      })
      await api.record(seen('cross', 'control', 20))
      await api.record(seen('cross', 'treatment', 10))
      await api.ok('POST', '/api/events/batch', {
        events: [seen('both', 'treatment', 10), seen('both', 'control', 20)],
      })
      await api.record(seen('straight', 'treatment', 5))
      const results = await api.results(experiment)
      expect(results).toMatchObject({ crossovers: 2, externally_decided: 4 })
      expect(users(results)).toEqual([1, 1])
      expect(conversions(results)).toEqual([0, 1])
    })

    test('a user whom the platform assigned keeps the variant, even if an event names another one', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment()
      const assigned = await api.variantOf('honest', experiment)
      const other = Object.values(experiment.variants).find((id) => id !== assigned)
      await api.record({ user_id: 'honest', experiment_id: experiment.id, variant_id: other, type: 'conversion' })
      expect(await api.variantOf('honest', experiment)).toBe(assigned)
      const results = await api.results(experiment)
      expect(results).toMatchObject({ crossovers: 0, externally_decided: 0 })
      expect(sum(conversions(results))).toBe(1)
      expect(results.variants.find((row: Loose) => row.variant_id === assigned).conversions).toBe(1)
    })

    test('events count from the exposure on, also without an experiment, but not of another one', async () => {
      const { api } = app()
      const [experiment, other] = [await startedAnHourAgo(api), await api.makeExperiment()]
      const experiment_id = experiment.id
      await api.record({ user_id: 'before', type: 'buy', timestamp: minutesAgo(30) })
      await api.record({ user_id: 'foreign', type: 'buy', experiment_id: other.id })
      for (const user of ['before', 'foreign', 'untagged', 'tagged']) await api.variantOf(user, experiment)
      const count = async () => sum(conversions(await api.results(experiment, { conversion_event_type: 'buy' })))
      await api.record({ user_id: 'foreign', type: 'buy', experiment_id: other.id })
      expect(await count()).toBe(0)
      await api.record({ user_id: 'untagged', type: 'buy' })
      await api.record({ user_id: 'untagged', type: 'buy' })
      expect(await count()).toBe(1)
      await api.record({ user_id: 'tagged', type: 'buy', experiment_id })
      await api.record({ user_id: 'never exposed', type: 'buy', experiment_id })
      expect(await count()).toBe(2)
    })

    test('a run that an event started begins with the earliest event, in whatever order events arrive', async () => {
      const { api, platform } = app()
      const count = async (minutes: number[]) => {
        const experiment = await api.makeExperiment()
        for (const [index, ago] of minutes.entries())
          await api.record({
            user_id: `order ${experiment.id} ${index}`,
            experiment_id: experiment.id,
            variant_id: experiment.variants.control,
            type: 'conversion',
            timestamp: minutesAgo(ago),
          })
        const detail = await api.ok('GET', `/api/experiments/${experiment.id}`)
        expect(detail.started_at).toBe(detail.runs[0].started_at)
        expect(detail.runs[0].periods[0].from).toBe(detail.started_at)
        return conversions(await api.results(experiment))
      }
      expect(await count([30, 60, 45])).toEqual([3, 0])
      expect(await count([60, 45, 30])).toEqual([3, 0])
      expect(await count([45, 30, 60])).toEqual([3, 0])
      const periods = await platform.orm.em
        .fork()
        .execute(`select distinct a.period from assignments a where a.user_id like 'order %'`)
      expect(periods).toEqual([{ period: 1 }])
    })

    test('a late event moves a decision by events into the allocation period of the event’s time', async () => {
      const { api, platform } = app()
      const experiment = await startedAnHourAgo(api)
      const tag = { user_id: 'moved', experiment_id: experiment.id, variant_id: experiment.variants.control, type: 'x' }
      await api.allocate(experiment, { control: 30, treatment: 30 })
      await api.record(tag)
      const period = async () =>
        (await platform.orm.em.fork().execute(`select a.period from assignments a where a.user_id = 'moved'`))[0]
          ?.period
      expect(await period()).toBeGreaterThan(1)
      await api.record({ ...tag, timestamp: minutesAgo(50) })
      expect(await period()).toBe(1)
    })

    test('a report of the exposure by a fast clock counts, before the decision or after it', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { exposure: 'on_report' })
      await api.ok('POST', `/api/experiments/${experiment.id}/start`)
      const timestamp = new Date(Date.now() + 60_000).toISOString()
      const report = (user_id: string) =>
        api.record({ user_id, experiment_id: experiment.id, type: '$exposure', timestamp })
      await report('reported first')
      await api.variantOf('reported first', experiment)
      await api.variantOf('decided first', experiment)
      await report('decided first')
      expect(sum(users(await api.results(experiment)))).toBe(2)
    })

    test('events that name another variant than the assigned one are counted as contradictions', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment()
      const assigned = await api.variantOf('claimed', experiment)
      const other = Object.values(experiment.variants).find((id) => id !== assigned)
      expect((await api.results(experiment)).claimed_other).toBe(0)
      await api.record({ user_id: 'claimed', experiment_id: experiment.id, variant_id: other, type: 'view' })
      expect((await api.results(experiment)).claimed_other).toBe(1)
    })

    test('events after the end of a run do not count, but earlier events that arrive late do', async () => {
      const { api } = app()
      const experiment = await startedAnHourAgo(api)
      const { control } = experiment.variants
      const tag = { experiment_id: experiment.id, variant_id: control, type: 'buy' }
      await api.record({ user_id: 'a', ...tag, timestamp: minutesAgo(50) })
      await api.ok('POST', `/api/experiments/${experiment.id}/complete`)
      await api.record({ user_id: 'b', ...tag })
      await api.record({ user_id: 'c', ...tag, timestamp: minutesAgo(40) })
      const results = await api.results(experiment, { conversion_event_type: 'buy' })
      expect(users(results)).toEqual([3, 0])
      expect(conversions(results)).toEqual([2, 0])
    })
  })
})
