import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import type { Cache } from '../cache/cache.ts'
import { raiseDefinitions } from './queries.ts'
import type { Watch } from './watch.ts'

/**
 * Changes definitions: one transaction under the caller's name (the audit log's triggers read it), then every process
 * is told, and this one answers only when its own snapshot holds the change.
 * @param actor who asks, such as `key 3 (my_api_key)`
 */
export type Define = <T>(actor: string, work: (em: EntityManager) => Promise<T>) => Promise<T>

export function createDefine(options: { orm: MikroORM; cache: Cache; watch: Watch }): Define {
  return async (actor, work) => {
    const { result, version } = await options.orm.em.fork().transactional(async (em) => {
      await em.execute(`select set_config('platform.actor', ?, true)`, [actor])
      const result = await work(em)
      await em.flush()
      return { result, version: await raiseDefinitions(em) }
    })
    options.cache.publish({ kind: 'definitions', version })
    // Committed already: the poll makes up for a look that fails now.
    await options.watch.refresh().catch(() => {})
    return result
  }
}
