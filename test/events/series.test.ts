import { expect, test } from 'vitest'
import type { Loose, TestApi } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'

/** Creates a run that began at a time, with users whom events assigned. */
async function startedAt(api: TestApi, timestamp: string) {
  const experiment = await api.makeExperiment()
  const tag = { experiment_id: experiment.id, variant_id: experiment.variants.control }
  await api.record({ ...tag, user_id: `first ${experiment.id}`, type: 'start', timestamp })
  return { ...experiment, tag }
}
const points = ({ series }: Loose, type: string) =>
  series
    .filter((one: Loose) => one.type === type)
    .map(({ points }: Loose) => points.map((point: Loose) => [point.start, point.events, point.value]))

onOneDatabase('the series of an experiment', (app) => {
  test('counts events and values per day, variant and type, with zeros, before and after folding', async () => {
    const { api, platform } = app()
    const { id, tag, variants } = await startedAt(api, '2026-03-01T10:00:00Z')
    const buy = { ...tag, type: 'buy' }
    await api.record({ ...buy, user_id: 'a', timestamp: '2026-03-01T23:59:59.999Z', properties: { value: 2.5 } })
    await api.record({ ...buy, user_id: 'a', timestamp: '2026-03-03T00:00:00Z', properties: { value: 4 } })
    await api.record({ ...buy, variant_id: variants.treatment, user_id: 'b', timestamp: '2026-03-02T12:00:00Z' })
    await api.record({ user_id: 'a', type: 'buy', timestamp: '2026-03-02T12:00:00Z' })
    const path = `/api/experiments/${id}/series?count=named_only&end_time=2026-03-04T00:00:00Z`
    const expected = [
      [
        ['2026-03-01T00:00:00.000Z', 1, 2.5],
        ['2026-03-02T00:00:00.000Z', 0, 0],
        ['2026-03-03T00:00:00.000Z', 1, 4],
      ],
      [
        ['2026-03-01T00:00:00.000Z', 0, 0],
        ['2026-03-02T00:00:00.000Z', 1, 0],
        ['2026-03-03T00:00:00.000Z', 0, 0],
      ],
    ]
    const before = await api.ok('GET', path)
    expect(points(before, 'buy')).toEqual(expected)
    await platform.reporting.totals.catchUp()
    await api.record({ ...tag, user_id: 'late', type: 'start', timestamp: '2026-03-02T01:00:00Z' })
    const after = await api.ok('GET', `${path}&event_types=buy`)
    expect(points(after, 'buy')).toEqual(expected)
    expect(after.series.length).toBe(2)
    expect(points(await api.ok('GET', path), 'start')[0].map(([, events]: [string, number]) => events)).toEqual([
      1, 1, 0,
    ])
  })

  test('divides days and hours in the requested time zone, also when its clocks change', async () => {
    const { api } = app()
    const { id, tag } = await startedAt(api, '2026-03-28T12:00:00Z')
    const at = (timestamp: string) => api.record({ ...tag, user_id: `u ${timestamp}`, type: 'zone', timestamp })
    await at('2026-03-28T22:59:00Z')
    await at('2026-03-28T23:00:00Z')
    await at('2026-03-29T22:00:00Z')
    const query = 'count=named_only&start_time=2026-03-28T12:00:00Z&end_time=2026-03-30T10:00:00Z&event_types=zone'
    const paris = await api.ok('GET', `/api/experiments/${id}/series?${query}&time_zone=Europe/Paris`)
    expect(paris.time_zone).toBe('Europe/Paris')
    // In this time zone, 29 March has 23 hours.
    expect(points(paris, 'zone')).toEqual([
      [
        ['2026-03-27T23:00:00.000Z', 1, 0],
        ['2026-03-28T23:00:00.000Z', 1, 0],
        ['2026-03-29T22:00:00.000Z', 1, 0],
      ],
    ])
    const [kathmandu] = points(
      await api.ok('GET', `/api/experiments/${id}/series?${query}&time_zone=Asia/Kathmandu&interval=hour`),
      'zone',
    )
    expect(kathmandu[0][0]).toBe('2026-03-28T11:15:00.000Z')
    expect(kathmandu.filter(([, events]: [string, number]) => events > 0).map(([start]: [string]) => start)).toEqual([
      '2026-03-28T22:15:00.000Z',
      '2026-03-29T21:15:00.000Z',
    ])
    expect(kathmandu.find(([start]: [string]) => start === '2026-03-28T22:15:00.000Z')[1]).toBe(2)
  })

  test('is refused for a bad range or too many points, and is empty before the first run', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const status = async (query: string) =>
      (await api.call('GET', `/api/experiments/${experiment.id}/series${query}`)).status
    expect((await api.ok('GET', `/api/experiments/${experiment.id}/series`)).series).toEqual([])
    expect(await status('?interval=minute')).toBe(400)
    expect(await status('?time_zone=Mars/Olympus')).toBe(400)
    expect(await status('?start_time=2026-01-02T00:00:00Z&end_time=2026-01-01T00:00:00Z')).toBe(400)
    expect(await status('?interval=hour&start_time=2000-01-01T00:00:00Z')).toBe(400)
    expect((await api.call('GET', '/api/experiments/2000000000/series')).status).toBe(404)
  })
})
