import type { EntityManager } from '@mikro-orm/sql'
import { lockProfilesShared, readProfileChanges } from './queries.ts'
import { REMEMBER_SECONDS, userDigest } from './watch.ts'

/**
 * A row to be stored for a user. `asked_id` is the alias that the caller gave, if any; `profiles_version` is the
 * version of the profiles when the user was last read.
 */
type UserRow = { user_id: string; asked_id?: string; profiles_version: number }

/**
 * Holds up erasures and new aliases until the transaction ends, so that no row is stored for a user who is erased or
 * joined in the meantime.
 * @returns a function that tells whether the user of an item was erased, or joined to another user, since the user was
 * read
 */
export async function fenceProfiles<Item extends UserRow>(
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
