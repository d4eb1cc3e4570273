import type { EntityManager } from '@mikro-orm/sql'
import { lockPeopleShared, readPeopleChanges } from './queries.ts'
import { REMEMBER_SECONDS, userDigest } from './watch.ts'

/** Something to be stored for a user, and the people's version when the user was last looked at. */
type Personal = { user_id: string; people_version: number }

/**
 * Holds up erasures and logins until the transaction ends, so that nothing is stored behind one's back.
 * @returns whether a user was erased, or joined to another, since they were looked at
 */
export async function fencePeople<Item extends Personal>(
  em: EntityManager,
  items: readonly Item[],
): Promise<(item: Item) => boolean> {
  const people = await lockPeopleShared(em)
  const oldest = items.reduce((least, item) => Math.min(least, item.people_version), people)
  if (oldest === people) return () => false
  const changes = new Map(
    (await readPeopleChanges(em, oldest, REMEMBER_SECONDS)).map((change) => [change.user_digest, change.version]),
  )
  return (item) => (changes.get(userDigest(item.user_id)) ?? 0) > item.people_version
}
