import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { CellTally } from './measure.ts'
import type { Job } from './worker.ts'

export type Done = { tally: CellTally; seconds: number }

/** Runs jobs in as many threads as there are cores, in their order. @param onDone is called as jobs end, in any order */
export async function inThreads<J extends Job>(
  jobs: readonly J[],
  onDone: (job: J, done: Done) => void,
): Promise<void> {
  let next = 0
  const work = async () => {
    const worker = new Worker(new URL('./worker.ts', import.meta.url))
    try {
      for (let job = jobs[next++]; job; job = jobs[next++]) onDone(job, await ask(worker, job))
    } finally {
      await worker.terminate()
    }
  }
  await Promise.all(Array.from({ length: Math.min(jobs.length, threads()) }, work))
}

export const threads = () => availableParallelism()

function ask(worker: Worker, job: Job): Promise<Done> {
  return new Promise((resolve, reject) => {
    worker.once('error', reject)
    worker.once('message', (done: Done) => {
      worker.off('error', reject)
      resolve(done)
    })
    const { cell, runs, seed } = job
    worker.postMessage({ cell, runs, seed })
  })
}
