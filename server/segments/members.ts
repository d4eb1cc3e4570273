import { setImmediate } from 'node:timers/promises'
import type { EntityManager } from '@mikro-orm/sql'
import { retried } from '../database/retry.ts'
import { invalid, notFound } from '../errors.ts'
import type { ProfileCache } from '../users/profile-cache.ts'
import { DEFAULT_LIMIT } from '../wire.ts'
import { UserSegment } from './entity.ts'
import { addMembers, countMembers, isEmbedded, removeMembers } from './queries.ts'
import type { AssignUser, ChangeMembers, ListMembers, MemberId, MembersChanged, Membership } from './schema.ts'
import { findSegment } from './service.ts'

/** Makes a user a member by hand; once more changes nothing. */
export async function assignUser(em: EntityManager, profiles: ProfileCache, input: AssignUser) {
  await findSegment(em, input.segment_id)
  if (!input.create && !(await profiles.read(input.user_id)).known) throw notFound('User', input.user_id)
  await addMembers(em, input.segment_id, [input.user_id])
  await profiles.changed(input.user_id)
  return { message: 'User assigned to segment successfully' }
}

export async function unassignUser(em: EntityManager, profiles: ProfileCache, input: Membership) {
  await findSegment(em, input.segment_id)
  if ((await removeMembers(em, input.segment_id, [input.user_id])) === 0)
    throw notFound('The membership', `of user ${input.user_id} in segment ${input.segment_id}`)
  await profiles.changed(input.user_id)
  return { message: 'User removed from segment successfully' }
}

/** By ascending user id. */
export async function listMembers(em: EntityManager, input: ListMembers): Promise<MemberId[]> {
  await findSegment(em, input.segment_id)
  const rows = await em.find(
    UserSegment,
    { segment_id: input.segment_id, ...(input.after === undefined ? {} : { user_id: { $gt: input.after } }) },
    { orderBy: { user_id: 'asc' }, limit: input.limit ?? DEFAULT_LIMIT },
  )
  return rows.map((row) => ({ id: row.user_id }))
}

/** So many at once keep everybody else waiting for some 20 ms, where all share one connection and one thread. */
const EMBEDDED_IDS = 500

/**
 * Adds and removes lists of members. One transaction of two statements; on the embedded database one for every few
 * hundred ids, which others come between: a list that fails half-way is sent again as it is.
 * @throws DomainError BAD_REQUEST for an id that is to be added and removed
 */
export async function changeMembers(
  em: EntityManager,
  profiles: ProfileCache,
  input: ChangeMembers,
): Promise<MembersChanged> {
  const { segment_id } = input
  const [add, remove] = [input.add ?? [], input.remove ?? []]
  const adding = new Set(remove.length > 0 ? add : [])
  const both = remove.findIndex((id) => adding.has(id))
  if (both >= 0) throw invalid('is to be added as well', 'remove', both)
  await findSegment(em, segment_id)
  const count = { added: 0, removed: 0 }
  const size = isEmbedded(em) ? EMBEDDED_IDS : Number.POSITIVE_INFINITY
  try {
    for (let from = 0; from < Math.max(add.length, remove.length); from += size) {
      const part = await retried(() =>
        em.fork().transactional(async (em) => ({
          removed: await removeMembers(em, segment_id, remove.slice(from, from + size)),
          added: await addMembers(em, segment_id, add.slice(from, from + size)),
        })),
      )
      count.added += part.added
      count.removed += part.removed
      await setImmediate()
    }
  } finally {
    await profiles.changedMany([...add, ...remove])
  }
  return { ...count, members: await countMembers(em, segment_id) }
}
