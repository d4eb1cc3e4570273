import { randomUUID } from 'node:crypto'
import { type EntityManager, type MikroORM, raw } from '@mikro-orm/sql'
import { eraseFromAudit } from '../audit/user-changes.ts'
import { retried } from '../database/retry.ts'
import { containing } from '../definitions/listing.ts'
import { lockProfiles } from '../definitions/queries.ts'
import { notFound } from '../errors.ts'
import { expectUnchanged, setGiven } from '../fields.ts'
import { DEFAULT_LIMIT } from '../wire.ts'
import { readAliasIds, readOwnerId, selectAliases } from './alias-queries.ts'
import { type AliasWriter, type Forget, raiseVersions, separate } from './aliases.ts'
import { User } from './entity.ts'
import { erasePerson } from './erasure-queries.ts'
import type { ProfileCache } from './profile-cache.ts'
import type { AliasesOutput, AliasOutput, CreateUser, JoinAlias, ListAliases, ListUsers, UpdateUser } from './schema.ts'
import * as wire from './schema.ts'

/** The parts of the process that read and change users. */
export type Users = { readonly profiles: ProfileCache; readonly aliasWriter: AliasWriter; readonly forget: Forget }

/** Creates a user. The database refuses an id or an e-mail address that is taken. */
export async function createUser(em: EntityManager, profiles: ProfileCache, input: CreateUser): Promise<User> {
  const user = em.create(User, {
    id: input.id ?? randomUUID(),
    first_name: input.first_name,
    last_name: input.last_name,
    email: input.email,
    is_premium: input.is_premium ?? false,
    country_code: input.country_code ?? null,
    attributes: input.attributes ?? {},
  })
  await em.flush()
  await profiles.changed(user.id)
  return user
}

/** Lists the users that meet all filters, by ascending id. */
export function listUsers(em: EntityManager, { email, q, after, limit }: ListUsers): Promise<User[]> {
  const conditions: object[] = []
  if (after !== undefined) conditions.push({ id: { $gt: after } })
  if (email !== undefined) conditions.push({ [raw('lower(email)')]: raw('lower(?)', [email]) })
  if (q !== undefined) {
    const like = containing(q)
    const name = raw(`first_name || ' ' || last_name`)
    conditions.push({ $or: [{ id: like }, { email: like }, { [name]: like }] })
  }
  return em.find(User, { $and: conditions }, { orderBy: { id: 'asc' }, limit: limit ?? DEFAULT_LIMIT })
}

/** Reads a user. @throws DomainError NOT_FOUND */
export async function getUser(em: EntityManager, userId: string): Promise<User> {
  const user = await em.findOne(User, userId)
  if (!user) throw notFound('User', userId)
  return user
}

/** Changes the given fields of a user. @throws DomainError NOT_FOUND */
export async function updateUser(em: EntityManager, profiles: ProfileCache, input: UpdateUser): Promise<User> {
  const user = await getUser(em, input.user_id)
  await expectUnchanged({ update: wire.updateUser, answer: wire.user }, input, () => user)
  setGiven(user, input, 'first_name', 'last_name', 'email', 'is_premium', 'country_code', 'attributes')
  await em.flush()
  await profiles.changed(user.id)
  return user
}

/**
 * Erases a user and the user's aliases. The profile, memberships, overrides and links are deleted. Assignments and
 * events stay under random ids, which are linked as the user's ids were, so that results stay as they are; the audit log
 * gets the random ids, too. A user who comes back is drawn again. If the id is itself an alias, the owner stays, and the
 * rows of the id stay the owner's.
 *
 * There are two passes. The first erases everything that is stored. The second takes a lock under which nothing can be
 * stored, and erases the rows that were on their way. The second pass takes other random ids, because the user may have
 * been assigned in the same run again.
 * @throws DomainError NOT_FOUND only if nothing was stored under any of the ids
 */
export async function deleteUser(em: EntityManager, forget: Forget, userId: string) {
  const userIds = new Set([userId])
  let personId = randomId()
  const erase = (pass: 'stored' | 'on its way') =>
    retried(() =>
      em.fork().transactional(async (em) => {
        if (pass === 'on its way') await lockProfiles(em)
        const ownerId = await readOwnerId(em, userId)
        if (ownerId !== undefined) personId = ownerId
        for (const aliasId of await readAliasIds(em, userId)) userIds.add(aliasId)
        // The order of the ids is kept: where two assignments are of the same time, it decides which one counts.
        const randomIds = Array.from(userIds, randomId).sort()
        const replacements = [...userIds].sort().map((user_id, index) => ({
          user_id,
          replacement: randomIds[index] as string,
        }))
        const own = replacements.find(({ user_id }) => user_id === userId)
        if (own && ownerId === undefined && pass === 'stored') personId = own.replacement
        const { stored, forced, alias_ids } = await erasePerson(em, userId, replacements, personId)
        // The second pass erases an alias that was joined in the meantime.
        for (const aliasId of alias_ids) userIds.add(aliasId)
        const logged = await eraseFromAudit(em, replacements)
        return stored + logged === 0 ? null : raiseVersions(em, [...userIds], 'erased', forced)
      }),
    )
  let found = false
  for (const pass of ['stored', 'on its way'] as const) {
    const raised = await erase(pass)
    if (!raised) continue
    found = true
    await forget(raised)
  }
  if (!found) throw notFound('User', userId)
  return { message: 'User deleted successfully' }
}

const randomId = () => `erased_${randomUUID()}`

/** Joins an anonymous id to a user; see `AliasWriter.join`. */
export async function joinAlias(aliasWriter: AliasWriter, input: JoinAlias, actor: string): Promise<AliasOutput> {
  const { alias_id, user_id, created_at } = await aliasWriter.join({ ...input, actor })
  return { alias_id, user_id, created_at: new Date(created_at) }
}

/** Undoes the join of an alias; see `separate`. @throws DomainError NOT_FOUND if the id is not an alias */
export async function undoAlias({ orm, users }: { orm: MikroORM; users: Users }, aliasId: string, actor: string) {
  await separate(orm, users.forget, aliasId, actor)
  return { message: 'Alias removed successfully' }
}

/**
 * Lists the owner of an id and the owner's aliases.
 * @throws DomainError NOT_FOUND if nothing is stored under the id
 */
export async function listAliases(
  em: EntityManager,
  profiles: ProfileCache,
  input: ListAliases,
): Promise<AliasesOutput> {
  if (!(await profiles.read(input.user_id)).known) throw notFound('User', input.user_id)
  const { user_id, aliases } = await selectAliases(em, input, input.limit ?? DEFAULT_LIMIT)
  return { user_id, aliases: aliases.map((alias) => ({ ...alias, created_at: new Date(alias.created_at) })) }
}
