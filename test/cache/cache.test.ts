import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import pino from 'pino'
import { expect, test } from 'vitest'
import { createCache } from '../../server/cache/cache.ts'
import { onPostgres } from '../support/app.ts'
import { REDIS_URL } from '../support/services.ts'

onPostgres('a cache whose database Redis refuses', () => {
  test('is never up, says why once, and writes nothing to database 0', async () => {
    const entries: { err?: string }[] = []
    const log = pino({ level: 'warn' }, { write: (line) => void entries.push(JSON.parse(line)) })
    const namespace = randomUUID()
    const cache = createCache({ url: Object.assign(new URL(REDIS_URL), { pathname: '/99999' }).href, namespace, log })
    const reason =
      'Redis refuses database 99999 (ERR DB index is out of range): correct the number at the end of REDIS_URL'
    const redis = new Redis(REDIS_URL)
    try {
      expect(await cache.opened()).toBe(reason)
      // The cache connects again every 100 to 2000 milliseconds.
      const ends = Date.now() + 500
      while (Date.now() < ends) {
        expect(cache.state()).toBe(`down: ${reason}`)
        cache.set('key', 1, 60)
        expect(await cache.get('key')).toBe(null)
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
      expect(await redis.keys(`*${namespace}*`)).toEqual([])
      expect(entries.map(({ err }) => err)).toEqual([reason])
    } finally {
      redis.disconnect()
      await cache.close()
    }
  })
})
