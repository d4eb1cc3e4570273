import type { EntityManager } from '@mikro-orm/sql'
import { lockProfilesShared, readProfileChanges } from './queries.ts'
import { REMEMBER_SECONDS, userDigest } from './watch.ts'

/**
 * Something to be stored for a user, asked for by an alias perhaps, and the version of the profiles when the user was
 * last read.
 */
type Personal = { user_id: string; asked_id?: string; profiles_version: number }

/**
 * Holds up erasures and logins until the transaction ends, so that nothing is stored behind one's back.
 * @returns whether a user was erased, or joined to another, since they were looked at
 */
export async function fenceProfiles<Item extends Personal>(
  em: EntityManager,
  items: readonly Item[],
): Promise<(item: Item) => boolean> {
  const current = await lockProfilesShared(em)
  const oldest = items.reduce((least, item) => Math.min(least, item.profiles_version), current)
  if (oldest === current) return () => false
  const changes = new Map(
    (await readProfileChanges(em, oldest, REMEMBER_SECONDS)).map((change) => [change.user_digest, change.version]),
  )
  const changedAt = (userId: string) => changes.get(userDigest(userId)) ?? 0
  return ({ user_id, asked_id = user_id, profiles_version }) =>
    changedAt(user_id) > profiles_version || (asked_id !== user_id && changedAt(asked_id) > profiles_version)
}
