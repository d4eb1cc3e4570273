import { setImmediate } from 'node:timers/promises'
import type { EntityManager } from '@mikro-orm/sql'
import { retried } from '../database/retry.ts'
import type { MembersNotice } from '../definitions/members-notice.ts'
import { DomainError, invalid, notFound } from '../errors.ts'
import type { ProfileCache } from '../users/profile-cache.ts'
import { DEFAULT_LIMIT } from '../wire.ts'
import { UserSegment } from './entity.ts'
import { addMembers, countMembers, isEmbedded, removeMembers } from './queries.ts'
import type { AssignUser, ChangeMembers, ListMembers, MemberId, MembersChanged, Membership } from './schema.ts'
import { findSegment } from './service.ts'

/** The parts of the process that a change of members concerns. */
export type Members = { readonly profiles: ProfileCache; readonly changed: MembersNotice }

/** The change is committed. If it cannot be announced, clients learn of it at their next evaluation. */
const notify = (changed: MembersNotice, segmentId: number) => changed(segmentId).catch(() => {})

/**
 * Makes a user a hand-made member of a segment. Repeating the call changes nothing.
 * @throws DomainError NOT_FOUND if the segment is missing, or if the user is unknown and `input.create` is not true
 */
export async function assignUser(em: EntityManager, { profiles, changed }: Members, input: AssignUser) {
  await findSegment(em, input.segment_id)
  if (!input.create && !(await profiles.read(input.user_id)).known) throw unknownMember(input.user_id)
  await addMembers(em, input.segment_id, [input.user_id])
  await profiles.changed(input.user_id)
  await notify(changed, input.segment_id)
  return { message: 'User assigned to segment successfully' }
}

const unknownMember = (userId: string) =>
  new DomainError('NOT_FOUND', `User ${userId} is unknown: pass create: true with the call, or create the user first`)

/** Ends a hand-made membership. @throws DomainError NOT_FOUND if there is no such segment or membership */
export async function unassignUser(em: EntityManager, { profiles, changed }: Members, input: Membership) {
  await findSegment(em, input.segment_id)
  if ((await removeMembers(em, input.segment_id, [input.user_id])) === 0)
    throw notFound('The membership', `of user ${input.user_id} in segment ${input.segment_id}`)
  await profiles.changed(input.user_id)
  await notify(changed, input.segment_id)
  return { message: 'User removed from segment successfully' }
}

/** Lists hand-made members by ascending user id. @throws DomainError NOT_FOUND if the segment is missing */
export async function listMembers(em: EntityManager, input: ListMembers): Promise<MemberId[]> {
  await findSegment(em, input.segment_id)
  const rows = await em.find(
    UserSegment,
    { segment_id: input.segment_id, ...(input.after === undefined ? {} : { user_id: { $gt: input.after } }) },
    { orderBy: { user_id: 'asc' }, limit: input.limit ?? DEFAULT_LIMIT },
  )
  return rows.map((row) => ({ id: row.user_id }))
}

/**
 * The ids of one chunk on the embedded database. Everything shares one connection and one thread there, and a chunk of
 * this size keeps all other work waiting for about 20 ms.
 */
const EMBEDDED_IDS = 500

/**
 * Adds and removes lists of hand-made members, in one transaction of two statements. The embedded database takes one
 * transaction per chunk, so that other work runs in between. A caller whose list fails half-way sends the whole list
 * again.
 * @returns how many memberships were added and removed, and how many the segment has now
 * @throws DomainError BAD_REQUEST for an id in both lists, NOT_FOUND if the segment is missing
 */
export async function changeMembers(
  em: EntityManager,
  members: Members,
  input: ChangeMembers,
): Promise<MembersChanged> {
  const { segment_id } = input
  const [add, remove] = [input.add ?? [], input.remove ?? []]
  const adding = new Set(remove.length > 0 ? add : [])
  const indexInBoth = remove.findIndex((id) => adding.has(id))
  if (indexInBoth >= 0)
    throw invalid(`${remove[indexInBoth]} is also in add: give each user id in one list`, 'remove', indexInBoth)
  await findSegment(em, segment_id)
  const count = { added: 0, removed: 0 }
  const size = isEmbedded(em) ? EMBEDDED_IDS : Number.POSITIVE_INFINITY
  try {
    for (let from = 0; from < Math.max(add.length, remove.length); from += size) {
      const changed = await retried(() =>
        em.fork().transactional(async (em) => ({
          removed: await removeMembers(em, segment_id, remove.slice(from, from + size)),
          added: await addMembers(em, segment_id, add.slice(from, from + size)),
        })),
      )
      count.added += changed.added
      count.removed += changed.removed
      await setImmediate()
    }
  } finally {
    await members.profiles.changedMany([...add, ...remove])
    await notify(members.changed, segment_id)
  }
  return { ...count, members: await countMembers(em, segment_id) }
}
