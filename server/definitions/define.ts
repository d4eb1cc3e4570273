import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import type { Cache } from '../cache/cache.ts'
import { retried } from '../database/retry.ts'
import { raiseDefinitions } from './queries.ts'
import type { Watch } from './watch.ts'

/**
 * One transaction under somebody's name: the audit log's triggers read it. Done again where a deadlock ended it.
 * @param actor who asks, such as `key 3 (my_api_key)`
 */
export type Audited = <T>(actor: string, work: (em: EntityManager) => Promise<T>) => Promise<T>

/** Changes definitions under somebody's name; answers only when this process's own snapshot holds the change. */
export type Define = Audited

/** How services read definitions and change them. */
export type Definitions = { readonly watch: Watch; readonly audited: Audited; readonly define: Define }

export function createAudited(orm: MikroORM): Audited {
  return (actor, work) =>
    retried(() =>
      orm.em.fork().transactional(async (em) => {
        await em.execute(`select set_config('platform.actor', ?, true)`, [actor])
        const result = await work(em)
        await em.flush()
        return result
      }),
    )
}

export function createDefine(options: { audited: Audited; cache: Cache; watch: Watch }): Define {
  return async (actor, work) => {
    const { result, version } = await options.audited(actor, async (em) => {
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
