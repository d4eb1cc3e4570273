import { randomUUID } from 'node:crypto'
import pino from 'pino'
import { afterAll, expect, test } from 'vitest'
import { type Cache, createCache } from '../../server/cache/cache.ts'
import { createReadThrough, type ReadThrough } from '../../server/cache/read-through.ts'
import { onPostgres } from '../support/app.ts'
import { REDIS_URL } from '../support/services.ts'

const TTL_SECONDS = 1

/** A world of named values with versions, and processes that cache them. */
async function makeWorld() {
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
    /** Tells whether the process finds the subject in Redis. */
    finds: async (process: ReadThrough<string | null>, subject: string) => {
      process.forget(subject)
      const before = loads
      await process.fetch(subject)
      return loads === before
    },
    store: (subject: string, value: string) => void stored.set(subject, value),
    change: (subject: string, value: string) => {
      stored.set(subject, value)
      changedAt.set(subject, ++version)
    },
    close: () => Promise.all(caches.map((cache) => cache.close())),
  }
}

onPostgres('a read-through cache', () => {
  const worlds: Awaited<ReturnType<typeof makeWorld>>[] = []
  const open = async () => {
    const world = await makeWorld()
    worlds.push(world)
    return world
  }
  afterAll(async () => void (await Promise.all(worlds.map((world) => world.close()))))

  test('shares what one process loaded with the others', async () => {
    const world = await open()
    const [one, two] = [await world.startProcess(), await world.startProcess()]
    world.store('a', 'first')
    expect(one.peek('a')).toBeUndefined()
    expect(await one.fetch('a')).toBe('first')
    await expect.poll(() => world.finds(two, 'a')).toBe(true)
    expect([one.peek('a'), two.peek('a')]).toEqual(['first', 'first'])
  })

  test('believes no entry from before a change, in the process or in Redis', async () => {
    const world = await open()
    const [one, two] = [await world.startProcess(), await world.startProcess()]
    world.store('a', 'first')
    await one.fetch('a')
    await expect.poll(() => world.finds(two, 'a')).toBe(true)
    world.change('a', 'second')
    expect([one.peek('a'), two.peek('a')]).toEqual([undefined, undefined])
    expect([await two.fetch('a'), await one.fetch('a')]).toEqual(['second', 'second'])
  })

  test('does not keep a value whose subject changed while it was fetched', async () => {
    const world = await open()
    const one = await world.startProcess()
    world.store('a', 'first')
    const fetching = one.fetch('a')
    world.change('a', 'second')
    await fetching
    expect(one.peek('a')).toBeUndefined()
    expect(await one.fetch('a')).toBe('second')
  })

  test('keeps a negative value in the process alone, and apart', async () => {
    const world = await open()
    const [one, two] = [await world.startProcess(), await world.startProcess()]
    expect(await one.fetch('nobody')).toBeNull()
    expect([one.peek('nobody'), one.peekNegative('nobody')]).toEqual([undefined, null])
    world.store('nobody', 'somebody')
    expect(await two.fetch('nobody')).toBe('somebody')
  })

  test('ends an entry after its lifetime, and can still give it then', async () => {
    const world = await open()
    const one = await world.startProcess()
    world.store('a', 'first')
    await one.fetch('a')
    await new Promise((resolve) => setTimeout(resolve, TTL_SECONDS * 1000 + 50))
    expect([one.peek('a'), one.peekExpired('a')]).toEqual([undefined, 'first'])
    world.change('a', 'second')
    expect(one.peekExpired('a')).toBeUndefined()
  })

  test('believes nothing from before a clear, also what was being fetched or is in Redis', async () => {
    const world = await open()
    const one = await world.startProcess()
    world.store('a', 'first')
    await expect.poll(() => world.finds(one, 'a')).toBe(true)
    world.store('a', 'second')
    const fetching = one.fetch('a')
    one.clear()
    await fetching
    expect(one.peek('a')).toBeUndefined()
    expect(await one.fetch('a')).toBe('second')
    expect(one.peek('a')).toBe('second')
  })
})
