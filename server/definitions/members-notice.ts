import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { Cache } from '../cache/cache.ts'
import { execute } from '../database/sql.ts'
import type { Snapshot } from './snapshot.ts'
import type { Watch } from './watch.ts'

/**
 * Notifies all processes that hand-made members of a segment changed, if a flag or an experiment reads the segment: the
 * values of flags may then be others, although no definition changed. Call this after the commit. Changes that arrive
 * together are announced together.
 */
export type MembersNotice = (segmentId: number) => Promise<void>

export function createMembersNotice(options: { orm: MikroORM; cache: Cache; watch: Watch }): MembersNotice {
  const { orm, cache, watch } = options
  let current: Promise<void> | undefined
  let following: Promise<void> | undefined

  async function announce() {
    await markMembers(orm.em.fork())
    cache.publish({ kind: 'members' })
    await watch.refresh()
  }
  const begin = () => {
    const mine = announce().finally(() => {
      if (current === mine) current = undefined
    })
    current = mine
    return mine
  }
  return async (segmentId) => {
    if (!isRead(watch.snapshot(), segmentId)) return
    if (!current) return begin()
    // The announcement under way may have begun before this change was committed.
    following ??= current
      .catch(() => {})
      .then(() => {
        following = undefined
        return begin()
      })
    return following
  }
}

/** True if the targeting of a flag's rule, or of an experiment that can be read as a flag, reads the segment. */
function isRead({ byKey }: Snapshot, segmentId: number): boolean {
  for (const entry of byKey.values())
    for (const { segments, groups } of 'rules' in entry ? entry.rules : [entry])
      if (groups.has(segmentId) || segments.some(({ id }) => id === segmentId)) return true
  return false
}

/** Stores that members of a segment that flags read changed now. */
const markMembers = (em: EntityManager) =>
  execute(
    em,
    sql`update platform set members_changed_at = greatest(members_changed_at + interval '1 millisecond', now_ms())`,
  )
