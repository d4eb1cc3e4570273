import { randomUUID } from 'node:crypto'
import pino from 'pino'
import { afterAll, expect, test } from 'vitest'
import { type Cache, createCache } from '../../server/cache/cache.ts'
import { createReadThrough, type ReadThrough } from '../../server/cache/read-through.ts'
import { onPostgres } from '../support/app.ts'
import { REDIS_URL } from '../support/services.ts'

const TTL_SECONDS = 1

/** Makes a store of named values with versions, and processes that cache the values. */
async function makeStore() {
  const namespace = randomUUID()
  const caches: Cache[] = []
  const stored = new Map<string, string>()
  const changedAt = new Map<string, number>()
  let version = 1
  let loads = 0
  async function startProcess() {
    const cache = createCache({ url: REDIS_URL, namespace, log: pino({ level: 'silent' }) })
    caches.push(cache)
    await expect.poll(() => cache.state()).toBe('up')
    return createReadThrough<string | null, string | null>({
      cache,
      changes: { version: () => version, changedAt: (subject) => changedAt.get(subject) ?? 0 },
      keyOf: (subject) => `value:${subject}`,
      max: 10,
      ttlSeconds: TTL_SECONDS,
      load: async (subject) => {
        loads++
        return stored.get(subject) ?? null
      },
      toValue: (value) => value,
      isNegative: (value) => value === null,
    })
  }
  return {
    startProcess,
    /** Tells whether a process finds the subject in Redis. */
    finds: async (process: ReadThrough<string | null>, subject: string) => {
      process.forget(subject)
      const before = loads
      await process.fetch(subject)
      return loads === before
    },
    set: (subject: string, value: string) => void stored.set(subject, value),
    change: (subject: string, value: string) => {
      stored.set(subject, value)
      changedAt.set(subject, ++version)
    },
    close: () => Promise.all(caches.map((cache) => cache.close())),
  }
}

onPostgres('a read-through cache', () => {
  const stores: Awaited<ReturnType<typeof makeStore>>[] = []
  const open = async () => {
    const store = await makeStore()
    stores.push(store)
    return store
  }
  afterAll(async () => void (await Promise.all(stores.map((store) => store.close()))))

  test('shares a value that one process loaded with other processes', async () => {
    const store = await open()
    const [one, two] = [await store.startProcess(), await store.startProcess()]
    store.set('a', 'first')
    expect(one.peek('a')).toBeUndefined()
    expect(await one.fetch('a')).toBe('first')
    await expect.poll(() => store.finds(two, 'a')).toBe(true)
    expect([one.peek('a'), two.peek('a')]).toEqual(['first', 'first'])
  })

  test('ignores entries from before a change, both in the process and in Redis', async () => {
    const store = await open()
    const [one, two] = [await store.startProcess(), await store.startProcess()]
    store.set('a', 'first')
    await one.fetch('a')
    await expect.poll(() => store.finds(two, 'a')).toBe(true)
    store.change('a', 'second')
    expect([one.peek('a'), two.peek('a')]).toEqual([undefined, undefined])
    expect([await two.fetch('a'), await one.fetch('a')]).toEqual(['second', 'second'])
  })

  test('does not keep a value whose subject changed while it was fetched', async () => {
    const store = await open()
    const one = await store.startProcess()
    store.set('a', 'first')
    const fetching = one.fetch('a')
    store.change('a', 'second')
    await fetching
    expect(one.peek('a')).toBeUndefined()
    expect(await one.fetch('a')).toBe('second')
  })

  test('keeps negative values in the process only, apart from other values', async () => {
    const store = await open()
    const [one, two] = [await store.startProcess(), await store.startProcess()]
    expect(await one.fetch('nobody')).toBeNull()
    expect([one.peek('nobody'), one.peekNegative('nobody')]).toEqual([undefined, null])
    store.set('nobody', 'somebody')
    expect(await two.fetch('nobody')).toBe('somebody')
  })

  test('expires an entry after its lifetime, and can still return the expired entry', async () => {
    const store = await open()
    const one = await store.startProcess()
    store.set('a', 'first')
    await one.fetch('a')
    await new Promise((resolve) => setTimeout(resolve, TTL_SECONDS * 1000 + 50))
    expect([one.peek('a'), one.peekExpired('a')]).toEqual([undefined, 'first'])
    store.change('a', 'second')
    expect(one.peekExpired('a')).toBeUndefined()
  })

  test('ignores every entry from before a clear, including fetches under way and entries in Redis', async () => {
    const store = await open()
    const one = await store.startProcess()
    store.set('a', 'first')
    await expect.poll(() => store.finds(one, 'a')).toBe(true)
    store.set('a', 'second')
    const fetching = one.fetch('a')
    one.clear()
    await fetching
    expect(one.peek('a')).toBeUndefined()
    expect(await one.fetch('a')).toBe('second')
    expect(one.peek('a')).toBe('second')
  })
})
