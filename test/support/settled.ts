import type { TestApp } from './app.ts'

const WAIT_MS = 25_000

/**
 * Waits until all stored events are old enough to be read in order. They are when every transaction has ended that began
 * before them, in whichever database of the server: other tests hold such transactions open.
 */
export async function settled({ platform }: TestApp) {
  const statement = 'select coalesce(max(e.xid) < recorded_horizon(), true) as settled from events e'
  for (const began = performance.now(); performance.now() - began < WAIT_MS; ) {
    const [row] = await platform.orm.em.fork().execute<{ settled: boolean }[]>(statement)
    if (row?.settled) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`A transaction that began before the last event is still open after ${WAIT_MS} ms`)
}
