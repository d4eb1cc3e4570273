import { once } from 'node:events'
import { Worker } from 'node:worker_threads'

/** The longest waits for an answer during a load, in milliseconds. */
export type Waits = { live: number; event: number }

/** The server that the probe's thread asks, and its key. */
export type Target = { url: string; token: string }

/**
 * Measures how long the platform keeps requests waiting, from a thread of its own that the load cannot delay: a request
 * for /health/live every 20 ms, and a single event every 100 ms.
 * @returns a function that ends the probe and gives the longest waits
 */
export async function startProbe(target: Target): Promise<() => Promise<Waits>> {
  const thread = new Worker(new URL('./probe-thread.ts', import.meta.url), { workerData: target })
  await once(thread, 'online')
  return async () => {
    const answered = once(thread, 'message')
    thread.postMessage('end')
    const [waits] = (await answered) as [Waits]
    await thread.terminate()
    return waits
  }
}
