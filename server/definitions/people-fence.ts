import type { EntityManager } from '@mikro-orm/sql'
import { lockPeopleShared, readPeopleChanges } from './queries.ts'
import { REMEMBER_SECONDS, userDigest } from './watch.ts'

/** Something to be stored for a user, asked for by an alias perhaps, and the people's version when they were last looked at. */
type Personal = { user_id: string; asked_id?: string; people_version: number }

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
  const changedAt = (userId: string) => changes.get(userDigest(userId)) ?? 0
  return ({ user_id, asked_id = user_id, people_version }) =>
    changedAt(user_id) > people_version || (asked_id !== user_id && changedAt(asked_id) > people_version)
}
