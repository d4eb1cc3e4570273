import { randomUUID } from 'node:crypto'
import type { EntityManager } from '@mikro-orm/sql'
import { retried } from '../database/retry.ts'
import { lockProfiles } from '../definitions/queries.ts'
import { notFound } from '../errors.ts'
import { DEFAULT_LIMIT, setGiven } from '../wire.ts'
import { erasePerson, readAliasIds, readOwnerId, selectAliases } from './alias-queries.ts'
import { type AliasWriter, type Forget, raiseVersions } from './aliases.ts'
import { User } from './entity.ts'
import type { ProfileCache } from './profile-cache.ts'
import type { AliasesOutput, AliasOutput, CreateUser, JoinAlias, ListAliases, ListUsers, UpdateUser } from './schema.ts'

/** The parts of the process that read and change users. */
export type Users = { readonly profiles: ProfileCache; readonly aliasWriter: AliasWriter; readonly forget: Forget }

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

export function listUsers(em: EntityManager, input: ListUsers): Promise<User[]> {
  return em.find(User, input.after === undefined ? {} : { id: { $gt: input.after } }, {
    orderBy: { id: 'asc' },
    limit: input.limit ?? DEFAULT_LIMIT,
  })
}

export async function getUser(em: EntityManager, userId: string): Promise<User> {
  const user = await em.findOne(User, userId)
  if (!user) throw notFound('User', userId)
  return user
}

export async function updateUser(em: EntityManager, profiles: ProfileCache, input: UpdateUser): Promise<User> {
  const user = await getUser(em, input.user_id)
  setGiven(user, input, 'first_name', 'last_name', 'email', 'is_premium', 'country_code', 'attributes')
  await em.flush()
  await profiles.changed(user.id)
  return user
}

/**
 * Erases a person, who may have aliases. Profile, memberships, overrides and links are deleted. Assignments and events
 * stay under random ids that are linked as the person's were, so that results stand; stickiness ends. If the id is
 * itself an alias, its owner stays, and the rows of the id stay the owner's. There are two passes: the first erases
 * everything that is stored; the second, while nothing can be stored, what was on its way meanwhile. The second takes
 * other random ids, since a user may have been assigned in the same run again.
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
        const replacements = [...userIds].map((user_id) => ({
          user_id,
          replacement: user_id === userId && pass === 'stored' && ownerId === undefined ? personId : randomId(),
        }))
        const { stored, forced, alias_ids } = await erasePerson(em, userId, replacements, personId)
        // An alias that was joined meanwhile is erased by the second pass.
        for (const aliasId of alias_ids) userIds.add(aliasId)
        return stored === 0 ? null : raiseVersions(em, [...userIds], 'erased', forced)
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

/** Joins an id to a user: see `aliases.ts`. */
export async function joinAlias(aliasWriter: AliasWriter, input: JoinAlias): Promise<AliasOutput> {
  const { created_at, ...link } = await aliasWriter.join(input)
  return { ...link, created_at: new Date(created_at) }
}

/**
 * Lists the owner of an id and the owner's aliases.
 * @throws DomainError NOT_FOUND for an id of which nothing is known
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
