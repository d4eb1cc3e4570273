import { setTimeout as sleep } from 'node:timers/promises'
import pino from 'pino'
import { expect, test } from 'vitest'
import { inBackground } from '../../server/database/background.ts'

const PAUSE_MS = 5

/** Starts a job whose runs the test ends, and collects the levels of its log lines. */
function startJob(pauseMs: number, atOnce = true) {
  const levels: string[] = []
  const log = pino(
    { level: 'debug' },
    { write: (line) => void levels.push(String(pino.levels.labels[JSON.parse(line).level])) },
  )
  const runs: { end: (error?: unknown) => void }[] = []
  const job = inBackground({ pauseMs, atOnce, log, complaint: 'failed' }, () => {
    return new Promise<void>((resolve, reject) => {
      runs.push({ end: (error) => (error === undefined ? resolve() : reject(error)) })
    })
  })
  return { job, runs, levels }
}

const failure = (code: string) => Object.assign(new Error(code), { code })

test('a background job logs a repeated failure once, at the level of its kind', async () => {
  const { job, runs, levels } = startJob(PAUSE_MS)
  const endNext = async (error?: unknown) => {
    const number = runs.length
    runs.at(-1)?.end(error)
    await expect.poll(() => runs.length).toBe(number + 1)
  }
  await endNext(failure('40P01'))
  await endNext(failure('ECONNREFUSED'))
  await endNext(failure('ECONNREFUSED'))
  await endNext(failure('42601'))
  await endNext()
  await endNext(failure('ECONNREFUSED'))
  expect(levels).toEqual(['debug', 'warn', 'error', 'warn'])
  const closed = job.close()
  runs.at(-1)?.end()
  await closed
})

test('a background job that is asked to run soon during a run starts the next run without a pause', async () => {
  const { job, runs } = startJob(60_000)
  job.runSoon()
  job.runSoon()
  runs[0]?.end()
  await expect.poll(() => runs.length).toBe(2)
  runs[1]?.end()
  await sleep(PAUSE_MS)
  expect(runs.length).toBe(2)
  job.runSoon()
  await expect.poll(() => runs.length).toBe(3)
  runs[2]?.end()
  await job.close()
})

test('a background job that must run now waits for its run, runs again and throws the new error', async () => {
  const { job, runs } = startJob(60_000)
  const asked = job.runNow()
  expect(runs.length).toBe(1)
  runs[0]?.end()
  await expect.poll(() => runs.length).toBe(2)
  runs[1]?.end(new Error('now'))
  await expect(asked).rejects.toThrow('now')
  await job.close()
})

test('closing a background job waits for its current run and starts no other', async () => {
  const { job, runs } = startJob(0)
  let isClosed = false
  const closed = job.close().then(() => {
    isClosed = true
  })
  await sleep(PAUSE_MS)
  expect(isClosed).toBe(false)
  runs[0]?.end()
  await closed
  await sleep(PAUSE_MS)
  expect(runs.length).toBe(1)
})

test('a background job without a start at once pauses first, and can be closed in the pause', async () => {
  const { job, runs } = startJob(60_000, false)
  await job.close()
  expect(runs.length).toBe(0)
})
