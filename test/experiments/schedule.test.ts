import pino from 'pino'
import { expect, test } from 'vitest'
import { createSchedule } from '../../server/experiments/schedule.ts'
import { freshDatabase, onOneDatabase, onPostgres, openApp } from '../support/app.ts'

const soon = (ms: number) => new Date(Date.now() + ms).toISOString()

/** Repeats a check until it holds. @returns the milliseconds that passed */
async function until(holds: () => Promise<boolean>, withinMs: number): Promise<number> {
  const since = performance.now()
  while (!(await holds())) {
    if (performance.now() - since > withinMs) throw new Error(`not within ${withinMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return performance.now() - since
}

onOneDatabase('a schedule', (app) => {
  const get = ({ id }: { id: number }) => app().api.ok('GET', `/api/experiments/${id}`)

  test('starts and completes a draft, each within two seconds of its time', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const [start, end] = [soon(1500), soon(4000)]
    await api.ok('PUT', `/api/experiments/${experiment.id}`, { scheduled_start_at: start, scheduled_end_at: end })
    await until(async () => (await get(experiment)).status === 'running', 5000)
    await until(async () => (await get(experiment)).status === 'completed', 6000)
    const { runs, ended_at, started_at } = await get(experiment)
    expect(runs).toHaveLength(1)
    for (const [at, planned] of [
      [started_at, start],
      [ended_at, end],
    ]) {
      expect(Date.parse(at) - Date.parse(planned)).toBeGreaterThanOrEqual(0)
      expect(Date.parse(at) - Date.parse(planned)).toBeLessThan(2500)
    }
    const actors = await app()
      .platform.orm.em.fork()
      .execute<{ actor: string }[]>(
        `select l.actor from audit_log l where l.subject = 'runs' and l.after ->> 'experiment_id' = ?`,
        [String(experiment.id)],
      )
    expect(actors).toEqual([{ actor: 'schedule' }, { actor: 'schedule' }])
    const again = await api.ok('POST', `/api/experiments/${experiment.id}/runs`)
    expect(again, 'the end was of the run before').toMatchObject({ status: 'running', scheduled_end_at: null })
  })

  test('starts a draft that cannot start at its time as soon as it can', async () => {
    const { api, platform } = app()
    const entries: { experiment_id?: number; err?: object; msg: string }[] = []
    const log = pino({ level: 'error' }, { write: (line) => void entries.push(JSON.parse(line)) })
    const { watch, define } = platform.definitions
    const schedule = createSchedule({ orm: platform.orm, watch, define, log })
    const scheduled = { scheduled_start_at: soon(1500) }
    const experiment = await api.makeExperiment({ control: 50 }, scheduled)
    const fractions = await api.makeExperiment({ control: 0.5, big: 99, treatment: 0.5 }, scheduled)
    await api.ok('DELETE', `/api/experiments/${fractions.id}/variants/${fractions.variants.big}`)
    await new Promise((resolve) => setTimeout(resolve, 3000))
    await schedule.close()
    expect((await get(experiment)).status).toBe('draft')
    const ofThis = entries.filter(({ experiment_id }) => experiment_id === experiment.id)
    expect(ofThis, 'a refusal is one line of the log, without a stack').toEqual([
      expect.objectContaining({ msg: expect.stringMatching(/could not be started .* at its scheduled time: .+/) }),
    ])
    expect(ofThis[0]).not.toHaveProperty('err')
    expect((await get(fractions)).status).toBe('draft')
    await api.ok('PUT', `/api/experiments/${fractions.id}/allocation`, { control: 50, treatment: 50 })
    await until(async () => (await get(fractions)).status === 'running', 3000)
    await api.ok('POST', `/api/experiments/${experiment.id}/variants`, { name: 'treatment', percent_allocated: 50 })
    await until(async () => (await get(experiment)).status === 'running', 3000)
  })
})

onPostgres('a schedule on several processes', () => {
  test('starts an experiment once', async () => {
    const environment = await freshDatabase('postgres')
    const apps = await Promise.all([1, 2, 3].map(() => openApp('postgres', environment)))
    const [{ api, platform }] = apps as [Awaited<ReturnType<typeof openApp>>]
    const scheduled_start_at = soon(2500)
    const experiments = []
    for (let made = 0; made < 4; made++)
      experiments.push(await api.makeExperiment({ control: 50, treatment: 50 }, { scheduled_start_at }))
    const get = ({ id }: { id: number }) => api.ok('GET', `/api/experiments/${id}`)
    for (const experiment of experiments) await until(async () => (await get(experiment)).status === 'running', 8000)
    const version = async () => (await platform.definitions.watch.refresh()).version
    const before = await version()
    await new Promise((resolve) => setTimeout(resolve, 1500))
    for (const experiment of experiments) {
      const { runs, version } = await get(experiment)
      expect(runs).toHaveLength(1)
      expect(version).toBe(4)
    }
    expect(await version(), 'nobody tries again').toBe(before)
    await Promise.all(apps.map((app) => app.close()))
  })
})
