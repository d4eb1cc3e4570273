import { expect, test } from 'vitest'
import type { TestApi } from '../support/api.ts'
import { onEachDatabase } from '../support/app.ts'

/** Makes an experiment with exactly these counts: events name the variants, so that nothing is drawn. */
async function makeExperimentWith(api: TestApi, counts: Record<string, { users: number; conversions: number }>) {
  const names = Object.keys(counts)
  const share = Math.floor(100 / names.length)
  const experiment = await api.makeExperiment(Object.fromEntries(names.map((name) => [name, share])))
  const events = Object.entries(counts).flatMap(([name, { users, conversions }]) =>
    Array.from({ length: users }, (_, user) => {
      const seen = {
        user_id: `${name} ${user}`,
        experiment_id: experiment.id,
        variant_id: experiment.variants[name],
        attributes: {},
      }
      return user < conversions
        ? [
            { ...seen, type: 'view' },
            { ...seen, type: 'conversion' },
          ]
        : [{ ...seen, type: 'view' }]
    }).flat(),
  )
  for (let start = 0; start < events.length; start += 1000) {
    const answer = await api.ok('POST', '/api/events/batch', { events: events.slice(start, start + 1000) })
    if (answer.rejected > 0)
      throw new Error(JSON.stringify(answer.results.find((result: { status: string }) => result.status === 'rejected')))
  }
  return experiment
}

onEachDatabase('results', (app) => {
  test('give rates, intervals, significance and the winner, in per cent and rounded', async () => {
    const { api } = app()
    const experiment = await makeExperimentWith(api, {
      control: { users: 1000, conversions: 100 },
      better: { users: 1000, conversions: 150 },
      worse: { users: 900, conversions: 60 },
    })
    // Counting all events may take longer than an answer waits.
    await app().platform.reporting.totals.catchUp()
    const results = await api.results(experiment)
    // By hand: z = 0.05 / sqrt(0.125 * 0.875 * 0.002) = 3.3806, p = 0.0007; Wilson limits from the textbook formula.
    expect(results).toMatchObject({
      experiment_id: experiment.id,
      experiment_name: expect.any(String),
      conversion_event_type: 'conversion',
      confidence_level: 0.95,
      significance_threshold: 0.05,
      run: 1,
      data_through: null,
      variants: [
        {
          variant_id: experiment.variants.control,
          variant_name: 'control',
          is_control: true,
          total_users: 1000,
          conversions: 100,
          conversion_rate: 10,
          confidence_interval: { lower: 8.29, upper: 12.02 },
          p_value: null,
          is_significant: null,
          relative_uplift: null,
        },
        {
          variant_id: experiment.variants.better,
          variant_name: 'better',
          is_control: false,
          total_users: 1000,
          conversions: 150,
          conversion_rate: 15,
          confidence_interval: { lower: 12.92, upper: 17.35 },
          p_value: 0.0007,
          is_significant: true,
          relative_uplift: 50,
        },
        expect.objectContaining({
          variant_name: 'worse',
          conversion_rate: 6.67,
          is_significant: true,
          relative_uplift: -33.33,
        }),
      ],
      winner: { variant_id: experiment.variants.better, variant_name: 'better', relative_uplift: 50 },
      externally_decided: 2900,
      claimed_other: 0,
      crossovers: 0,
      overridden: 0,
    })
    const strict = await api.results(experiment, {
      significance_threshold: 0.0001,
      confidence_level: 0.99,
      interval_method: 'wald',
    })
    expect(strict.winner).toBeNull()
    expect(strict.variants[0].confidence_interval).toEqual({ lower: 7.56, upper: 12.44 })
    const twin = `/api/experiments/${experiment.id}/results?significance_threshold=0.0001&confidence_level=0.99&interval_method=wald`
    expect(await api.ok('GET', twin)).toEqual(strict)
    expect(await api.results(experiment, { conversion_event_type: null, confidence_level: null })).toEqual(results)
  })

  test('of another event type count distinct users, however many events a user has', async () => {
    const { api } = app()
    const experiment = await makeExperimentWith(api, {
      control: { users: 5, conversions: 0 },
      treatment: { users: 5, conversions: 5 },
    })
    const { variants } = await api.results(experiment, { conversion_event_type: 'view' })
    expect(variants.map((row: { conversions: number }) => row.conversions)).toEqual([5, 5])
  })

  test('count the conversions of all allocation periods', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 })
    const convert = async (user_id: string) => {
      await api.variantOf(user_id, experiment)
      await api.record({ user_id, experiment_id: experiment.id, type: 'conversion' })
    }
    for (let user = 0; user < 10; user++) await convert(`first ${user}`)
    await api.allocate(experiment, { control: 20, treatment: 80 })
    for (let user = 0; user < 10; user++) await convert(`second ${user}`)
    const { variants } = await api.results(experiment)
    for (const { conversions, total_users } of variants) expect(conversions).toBe(total_users)
    expect(variants.reduce((sum: number, { conversions }: { conversions: number }) => sum + conversions, 0)).toBe(20)
  })

  test('list every variant with 0 users before the first run', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const results = await api.results(experiment)
    expect(results).toMatchObject({ run: null, winner: null })
    expect(results.variants).toMatchObject([
      { total_users: 0, conversion_rate: 0, confidence_interval: { lower: 0, upper: 100 } },
      { total_users: 0, p_value: 1, is_significant: false },
    ])
  })

  test('refuse levels outside (0, 1), and answer 404 for an unknown experiment', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    for (const level of [0, 1, -0.5, 95])
      expect(
        (await api.call('POST', `/api/experiments/${experiment.id}/results`, { confidence_level: level })).status,
      ).toBe(400)
    expect((await api.call('POST', '/api/experiments/2000000000/results')).status).toBe(404)
  })
})
