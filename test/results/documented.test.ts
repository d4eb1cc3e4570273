import { expect, test } from 'vitest'
import type { Loose, TestApi } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'
import { verifyResult } from './verify-result.ts'

/** Starts an experiment at 50/50, lets users meet a variant, goes on at 20/80, and lets users convert. */
async function overTwoPeriods(api: TestApi, converts: (user: number, period: number) => boolean) {
  const experiment = await api.makeExperiment({ control: 50, treatment: 50 })
  const arrive = async (period: number) => {
    const users = Array.from({ length: 80 }, (_, user) => `${experiment.id} ${period} ${user}`)
    await Promise.all(users.map((user_id) => api.variantOf(user_id, experiment)))
    const converted = users.filter((_, user) => converts(user, period))
    const events = converted.map((user_id) => ({ user_id, type: 'conversion', attributes: {} }))
    await api.ok('POST', '/api/events/batch', { events })
  }
  await arrive(1)
  await api.allocate(experiment, { control: 20, treatment: 80 })
  await arrive(2)
  return experiment
}

const figuresOf = ({ variants }: Loose) =>
  variants.map(({ conversion_rate, conversions, total_users }: Loose) => [conversion_rate, total_users - conversions])

onOneDatabase('the documented fields of a run with two allocation periods', (app) => {
  test('show no difference if everybody converts: from totals, from events, and frozen', async () => {
    const { api } = app()
    const experiment = await overTwoPeriods(api, () => true)
    const expectNoDifference = (results: Loose) => {
      expect(figuresOf(results)).toEqual([
        [100, 0],
        [100, 0],
      ])
      expect(results.variants[1]).toMatchObject({ p_value: 1, is_significant: false, relative_uplift: 0 })
      expect(results.winner).toBeNull()
      expect(results.warnings.join(' ')).toContain('within each of the 2 allocation periods')
    }
    const live = await api.results(experiment)
    expectNoDifference(live)
    expect(live.variants[0].total_users + live.variants[1].total_users).toBe(160)
    expectNoDifference(await api.results(experiment, { window_hours: 24 }))
    const path = `/api/experiments/${experiment.id}`
    await api.ok('POST', `${path}/complete`)
    await api.ok('POST', `${path}/freeze`)
    const frozen = await api.results(experiment)
    expectNoDifference(frozen)
    expect(frozen.variants).toEqual(live.variants)
    const exported = await api.ok('POST', `${path}/results/frozen`)
    expect(exported.statistics.conversions.map(({ period }: Loose) => period).toSorted()).toHaveLength(4)
    expect(verifyResult(exported)).toMatchObject({ status: 0 })
  })

  test('compare within the periods: a level that falls over time does not make a winner of the smaller variant', async () => {
    const { api } = app()
    // In the first period three quarters convert, in the second a quarter, in both variants alike.
    const experiment = await overTwoPeriods(api, (user, period) => (period === 1 ? user % 4 > 0 : user % 4 === 0))
    const { variants, winner } = await api.results(experiment)
    const [control, treatment] = variants
    expect(control.conversion_rate - treatment.conversion_rate).toBeGreaterThan(5)
    expect(treatment).toMatchObject({ is_significant: false })
    expect(treatment.p_value).toBeGreaterThan(0.05)
    expect(winner).toBeNull()
  })
})

onOneDatabase('the documented fields of a run with one allocation period', (app) => {
  test('carry a text where a p-value is rounded to 0, and a warning where the exact test disagrees', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { auto_start: false })
    const [control, treatment] = [experiment.variants.control, experiment.variants.treatment]
    const record = (from: number, to: number, variant_id: number | undefined, type: string) =>
      api.ok('POST', '/api/events/batch', {
        events: Array.from({ length: to - from }, (_, user) => ({
          user_id: `${experiment.id} ${variant_id} ${from + user}`,
          experiment_id: experiment.id,
          variant_id,
          type,
          attributes: {},
        })),
      })
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    for (const id of [control, treatment]) await record(0, 40, id, 'view')
    await record(0, 5, treatment, 'rare')
    await record(0, 2, control, 'frequent')
    await record(0, 36, treatment, 'frequent')
    const rare = await api.results(experiment, { conversion_event_type: 'rare' })
    // Fisher's test: 0 of 40 against 5 of 40.
    expect(rare.variants[1]).toMatchObject({ p_value: 0.0209, is_significant: true, small_sample: true })
    expect(rare.variants[1].exact_p_value).toBeCloseTo(0.0547, 4)
    expect(rare.variants[1]).not.toHaveProperty('p_value_text')
    expect(rare.warnings.join(' ')).toContain('treatment has too few rare events for the z-test (p = 0.0209)')
    const frequent = await api.results(experiment, { conversion_event_type: 'frequent' })
    expect(frequent.variants[1]).toMatchObject({ p_value: 0, p_value_text: '< 0.0001', is_significant: true })
    expect(frequent.warnings.join(' ')).not.toContain('z-test')
  })
})
