import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import type { Target, Waits } from './probe.ts'

/** Runs in the probe's thread: sends one request after the other and keeps the longest wait of each kind. */

const LIVE_EVERY_MS = 20
const EVENT_EVERY_MS = 100

const { url, token } = workerData as Target
const waits: Waits = { live: 0, event: 0 }
let ended = false

async function repeat(name: keyof Waits, everyMs: number, send: () => Promise<Response>) {
  while (!ended) {
    const began = performance.now()
    const response = await send()
    await response.arrayBuffer()
    if (!response.ok) throw new Error(`The probe of ${name} got ${response.status}`)
    const took = performance.now() - began
    waits[name] = Math.max(waits[name], took)
    await sleep(Math.max(0, everyMs - took))
  }
}

const running = Promise.all([
  repeat('live', LIVE_EVERY_MS, () => fetch(`${url}/health/live`)),
  repeat('event', EVENT_EVERY_MS, () =>
    fetch(`${url}/api/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify({ user_id: 'user_1', type: 'probe' }),
    }),
  ),
])
parentPort?.on('message', async () => {
  ended = true
  // A request that still waits is a stall, too.
  await running
  parentPort?.postMessage(waits)
})
