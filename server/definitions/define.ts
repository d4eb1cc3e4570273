import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import type { Cache } from '../cache/cache.ts'
import { retried } from '../database/retry.ts'
import type { MembersNotice } from './members-notice.ts'
import { raiseDefinitions } from './queries.ts'
import type { Watch } from './watch.ts'

/**
 * Runs work in one transaction under the name of an actor, which the triggers of the audit log read. A transaction that
 * a deadlock ended is run again.
 * @param actor who asks, such as `key 3 (my_api_key)`
 */
export type Audited = <T>(actor: string, work: (em: EntityManager) => Promise<T>) => Promise<T>

/**
 * Changes definitions in one transaction under the name of an actor. Returns when the snapshot of this process holds
 * the change, or when reading the new snapshot failed.
 */
export type Define = Audited

/** The access of services to definitions, and to other transactions that the audit log records. */
export type Definitions = {
  readonly watch: Watch
  readonly audited: Audited
  readonly define: Define
  readonly membersChanged: MembersNotice
}

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
    // The change is committed. If this refresh fails, the next poll reads the change.
    await options.watch.refresh().catch(() => {})
    return result
  }
}
