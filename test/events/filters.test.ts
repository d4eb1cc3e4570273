import fc from 'fast-check'
import { expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'

const TYPES = ['click', 'purchase', 'view', 'Été']
const USERS = ['ada', 'grace', 'edsger']
const MINUTE = 60_000
const EVENTS = 600

const filters = (variants: number[]) =>
  fc.record(
    {
      // Minutes before the last event, for spans of minutes, hours and days, one of them empty.
      start: fc.integer({ min: -10, max: EVENTS * 10 }),
      end: fc.integer({ min: -10, max: EVENTS * 10 }),
      variant_id: fc.constantFrom(...variants),
      event_types: fc.uniqueArray(fc.constantFrom(...TYPES, 'never'), { maxLength: 3 }),
      user_ids: fc.uniqueArray(fc.constantFrom(...USERS, 'nobody'), { maxLength: 3 }),
    },
    { requiredKeys: [] },
  )

onOneDatabase('the list of events', (app) => {
  test('holds, page by page, the events that fit all filters, by ascending id', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment({ control: 34, b: 33, c: 33 })
    const variants = Object.values(experiment.variants)
    const now = Date.now()
    // One event every ten minutes, received in the order of ids; some arrive up to five hours late.
    const at = (index: number) => now - (EVENTS - index) * 10 * MINUTE
    const events = Array.from({ length: EVENTS }, (_, index) => ({
      user_id: USERS[(index * 7) % 3] as string,
      experiment_id: experiment.id,
      variant_id: variants[(index * 5) % 11 === 0 ? 2 : index % 2] as number,
      type: TYPES[(index * 13) % 17 === 0 ? 3 : index % 3] as string,
      attributes: {},
      timestamp: new Date(at(index) - (index % 9 === 0 ? 300 * MINUTE : 0)).toISOString(),
    }))
    const { results } = await api.ok('POST', '/api/events/batch', { events })
    const stored = events.map((event, index) => ({ ...event, id: results[index].id as number }))
    await platform.orm.em
      .fork()
      .execute(
        `update events e set received_at = greatest(e.timestamp, now() - (? - (e.id - ?)) * interval '10 minutes') where e.experiment_id = ?`,
        [EVENTS, Math.min(...stored.map(({ id }) => id)), experiment.id],
      )
    const time = (minutes: number) => new Date(now - minutes * MINUTE).toISOString()
    await fc.assert(
      fc.asyncProperty(filters(variants), fc.integer({ min: 40, max: 300 }), async (drawn, limit) => {
        const { start, end, ...named } = drawn
        const [from, to] = start !== undefined && end !== undefined && start < end ? [end, start] : [start, end]
        const filter = {
          ...named,
          ...(from === undefined ? {} : { start_time: time(from) }),
          ...(to === undefined ? {} : { end_time: time(to) }),
        }
        const expected = stored.filter(
          (event) =>
            (from === undefined || event.timestamp >= time(from)) &&
            (to === undefined || event.timestamp < time(to)) &&
            (!named.variant_id || event.variant_id === named.variant_id) &&
            (!named.event_types?.length || named.event_types.includes(event.type)) &&
            (!named.user_ids?.length || named.user_ids.includes(event.user_id)),
        )
        const listed: { id: number }[] = []
        for (let after = 0; ; after = listed.at(-1)?.id ?? 0) {
          const page = await api.ok('POST', `/api/events/${experiment.id}`, {
            ...filter,
            limit,
            after: after || undefined,
          })
          listed.push(...page)
          if (page.length < limit) break
        }
        expect(listed.map(({ id }) => id)).toEqual(expected.map(({ id }) => id).sort((one, other) => one - other))
      }),
      { numRuns: 60, seed: 11 },
    )
  }, 120_000)
})
