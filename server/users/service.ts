import { randomUUID } from 'node:crypto'
import type { EntityManager } from '@mikro-orm/sql'
import type { AssignmentMemory } from '../assignments/memory.ts'
import { retried } from '../database/retry.ts'
import { lockPeople, raisePeople } from '../definitions/queries.ts'
import { REMEMBER_SECONDS, userDigest } from '../definitions/watch.ts'
import { notFound } from '../errors.ts'
import { DEFAULT_LIMIT } from '../wire.ts'
import { User } from './entity.ts'
import type { People } from './people.ts'
import { erasePerson } from './queries.ts'
import type { CreateUser, ListUsers, UpdateUser } from './schema.ts'

export async function createUser(em: EntityManager, people: People, input: CreateUser): Promise<User> {
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
  await people.changed(user.id)
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

export async function updateUser(em: EntityManager, people: People, input: UpdateUser): Promise<User> {
  const user = await getUser(em, input.user_id)
  user.first_name = input.first_name ?? user.first_name
  user.last_name = input.last_name ?? user.last_name
  user.email = input.email ?? user.email
  user.is_premium = input.is_premium ?? user.is_premium
  if (input.country_code !== undefined) user.country_code = input.country_code
  user.attributes = input.attributes ?? user.attributes
  await em.flush()
  await people.changed(user.id)
  return user
}

/**
 * Erases a person: profile, memberships, overrides and aliases are gone, assignments and events stay under a random id,
 * so that results stand. Stickiness ends. Erased twice: first everything that is stored, then, while nothing can be
 * stored, what was on its way meanwhile, under another id, since it may be in the same run again.
 * @throws DomainError NOT_FOUND only if nothing was stored under the id
 */
export async function deleteUser(em: EntityManager, people: People, memory: AssignmentMemory, userId: string) {
  const erase = (lock: boolean) =>
    retried(() =>
      em.fork().transactional(async (em) => {
        if (lock) await lockPeople(em)
        if ((await erasePerson(em, userId, `erased_${randomUUID()}`)) === 0) return null
        return raisePeople(em, userDigest(userId), REMEMBER_SECONDS)
      }),
    )
  const versions = [await erase(false), await erase(true)].filter((version) => version !== null)
  if (versions.length === 0) throw notFound('User', userId)
  await people.changed(userId, Math.max(...versions))
  await memory.forget(userId)
  return { message: 'User deleted successfully' }
}
