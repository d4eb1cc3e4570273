import { expect, test } from 'vitest'
import type { Loose } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'

const VALUES = Array.from({ length: 40 }, (_, index) => `plan ${String(index).padStart(2, '0')}`)
const SHOWN = 30

/** Adds up a figure of a metric by variant. */
function sumsOf(metrics: readonly Loose[], figure: (variant: Loose) => number): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const { variants } of metrics)
    for (const variant of variants) sums[variant.variant_id] = (sums[variant.variant_id] ?? 0) + figure(variant)
  return sums
}

onOneDatabase('a breakdown by a dimension of 40 values', (app) => {
  test('shows the 30 with the most users, and adds up the others, so that its parts make the whole', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment(undefined, { dimensions: ['plan'] })
    const ids = Object.values(experiment.variants)
    // The values with an odd index have one user per variant, those with an even one two; of these 20, all are shown.
    const users = VALUES.flatMap((plan, value) =>
      ids.flatMap((variant_id) =>
        Array.from({ length: 2 - (value % 2) }, (_, index) => ({
          plan,
          variant_id,
          id: `${plan} ${variant_id} ${index}`,
        })),
      ),
    )
    const meetings = users.map(({ plan, variant_id, id: user_id }) => {
      return { user_id, experiment_id: experiment.id, variant_id, type: 'met', attributes: { plan } }
    })
    const purchases = users.flatMap(({ id }, index) =>
      index % 3 === 0 ? [{ user_id: id, type: 'purchase', attributes: {} }] : [],
    )
    for (const events of [meetings, purchases])
      expect((await api.ok('POST', '/api/events/batch', { events })).rejected).toBe(0)
    const question = { conversion_event_type: 'purchase', dimension: 'plan' }
    for (const [folded, more] of [
      [false, {}],
      [true, {}],
      [true, { window_hours: 24 }],
    ] as const) {
      if (folded) await platform.reporting.totals.catchUp()
      const { metrics, segments } = await api.results(experiment, { ...question, ...more })
      const values = segments.map(({ value }: Loose) => value)
      const even = VALUES.filter((_, index) => index % 2 === 0)
      const odd = VALUES.filter((_, index) => index % 2 === 1)
      const shown = [...even, ...odd.slice(0, SHOWN - even.length)]
      expect(values).toEqual([...shown.sort(), '(other)'])
      const other = segments.at(-1)
      expect(other.metrics[0].variants.map(({ users }: Loose) => users)).toEqual([10, 10])
      const parts = segments.flatMap(({ metrics }: Loose) => metrics)
      for (const figure of [
        ({ users }: Loose) => users,
        ({ events }: Loose) => events,
        ({ level, users }: Loose) => Math.round(level * users),
      ])
        expect(sumsOf(parts, figure)).toEqual(sumsOf(metrics, figure))
    }
    const one = await api.results(experiment, { where: { plan: VALUES[39] } })
    expect(one.variants.map(({ total_users }: Loose) => total_users)).toEqual([1, 1])
  })
})
