import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import type { AssignmentMemory } from '../assignments/memory.ts'
import { logUserChanges } from '../audit/user-changes.ts'
import type { Cache } from '../cache/cache.ts'
import { keys } from '../cache/keys.ts'
import { isTransient } from '../database/errors.ts'
import { createGroupCommit } from '../database/group-commit.ts'
import { retried } from '../database/retry.ts'
import { lockProfiles, raiseDefinitions, raiseProfiles } from '../definitions/queries.ts'
import { REMEMBER_SECONDS, userDigest, type Watch } from '../definitions/watch.ts'
import { conflict, DomainError, invalid, notFound, unavailable } from '../errors.ts'
import {
  copyToOwners,
  deleteLink,
  excludeForced,
  exposeFromJoin,
  keepForAlias,
  keepFormer,
  keepForReturned,
  type Link,
  type LinkVia,
  type Repointed,
  readForced,
  readLinks,
  readLinksVia,
  readOwnerId,
  returnLinks,
  type StoredLink,
  storeLinks,
} from './alias-queries.ts'
import type { ProfileCache } from './profile-cache.ts'
import { keepDraws, type Persons, readPersons, storeDrawIds } from './queries.ts'

/** A link that a call asks for. */
type WantedLink = Link & { actor: string }

/** Joins aliases to their owners. Concurrent logins share one transaction, and are answered after its commit. */
export type AliasWriter = {
  /**
   * @param link.actor who asks, for the audit log
   * @throws DomainError CONFLICT if the alias has another owner, BAD_REQUEST for a circle
   */
  join: (link: WantedLink) => Promise<StoredLink>
  /** Waits until nothing is left to store. */
  drained: () => Promise<void>
}

/** The versions that a transaction raised: that of the profiles, and that of the definitions if it changed. */
type Raised = { userIds: readonly string[]; profiles: number; definitions: number | null }

/**
 * Drops the cached data of users who were joined or erased, in this process and the others. Call this after the commit.
 */
export type Forget = (raised: Raised) => Promise<void>

/**
 * Raises the versions that make cached data and pending decisions of these users invalid.
 * @param forced whether a variant is forced on one of the users, so that the definitions change too
 */
export async function raiseVersions(
  em: EntityManager,
  userIds: readonly string[],
  kind: 'erased' | 'joined',
  forced: boolean,
): Promise<Raised> {
  const profiles = await raiseProfiles(em, userIds.map(userDigest), kind, REMEMBER_SECONDS)
  return { userIds, profiles, definitions: forced ? await raiseDefinitions(em) : null }
}

export function createForget(options: {
  profiles: ProfileCache
  memory: AssignmentMemory
  cache: Cache
  watch: Watch
}): Forget {
  const { profiles, memory, cache, watch } = options
  return async (raised) => {
    await Promise.all(
      raised.userIds.map(async (userId) => {
        await profiles.changed(userId, raised.profiles)
        await memory.forget(userId)
      }),
    )
    if (raised.definitions === null) return
    // The previous snapshot contains overrides by user id.
    await cache.drop(keys.snapshot(raised.definitions - 1))
    cache.publish({ kind: 'definitions', version: raised.definitions })
    // The change is committed. If this refresh fails, the next poll reads the change.
    await watch.refresh().catch(() => {})
  }
}

/**
 * How long logins wait to form a group, in milliseconds, even if no group is under way. The transaction of a group
 * holds up decisions and events that are being stored, and the wait makes fewer, larger groups.
 */
const WAIT_MS = 10

export function createAliasWriter({ orm, forget }: { orm: MikroORM; forget: Forget }): AliasWriter {
  const group = createGroupCommit<WantedLink, StoredLink | DomainError>({
    waitMs: WAIT_MS,
    maxWeight: 500,
    maxWaiting: 20_000,
    concurrency: 1,
    write: async (wanted) => {
      // Most logins repeat a stored link. They take no lock, so they hold up nobody.
      const known = settle(wanted, await readLinks(orm.em.fork(), wanted))
      if (known.changed.size === 0) return known.outcomes(new Map())
      const { outcomes, raised } = await joinTogether(orm, wanted)
      if (raised) await forget(raised)
      return outcomes
    },
  })
  return {
    join: async (link) => {
      const outcome = await group.add(link)
      if (outcome instanceof DomainError) throw outcome
      return outcome
    },
    drained: group.drained,
  }
}

/** Joins links in one transaction. Decisions that were made before the transaction are not stored after it. */
async function joinTogether(orm: MikroORM, wanted: readonly WantedLink[]) {
  try {
    return await retried(() =>
      orm.em.fork().transactional(async (em) => {
        await lockProfiles(em)
        const present = await readLinks(em, wanted)
        const persons = await readPersons(em, [
          ...new Set(wanted.flatMap(({ alias_id, user_id }) => [alias_id, user_id])),
        ])
        const { changed, joined, repointed, drawIds, concerned, outcomes } = settle(wanted, present, persons)
        if (changed.size === 0) return { outcomes: outcomes(new Map()), raised: null }
        const links = [...changed.values()]
        const stored = await storeLinks(em, links)
        await storeDrawIds(em, drawIds)
        await logUserChanges(
          em,
          joined.map(({ actor, ...after }) => ({ ...linkSubject(after), before: null, after, actor })),
        )
        await copyToOwners(em, links)
        if (repointed.length > 0) await keepFormer(em, repointed)
        const ownerIds = [...new Set(links.map(({ user_id }) => user_id))]
        const forced = await readForced(em, ownerIds)
        if (forced.ever) await excludeForced(em, ownerIds)
        const raised = await raiseVersions(em, [...concerned], 'joined', forced.now)
        return { outcomes: outcomes(new Map(stored.map((link) => [link.alias_id, link.created_at]))), raised }
      }),
    )
  } catch (error) {
    // Retrying the links one by one would take as long, so the whole group is refused.
    if (isTransient(error))
      throw unavailable('Aliases cannot be joined now, because too much is being stored; try again soon')
    throw error
  }
}

const linkSubject = ({ alias_id }: Link) => ({ subject: 'aliases' as const, subject_id: alias_id })

const NOBODY: Persons = { known: new Set(), drawIds: new Map() }

/**
 * Undoes a join in one transaction: the alias belongs to nobody any more, and the aliases that came with it belong to it
 * again. All ids keep the variants that they were given until now and the draws of rollouts, and results count two users.
 * @param actor who asks, for the audit log
 * @throws DomainError NOT_FOUND if the id is not an alias
 */
export async function separate(orm: MikroORM, forget: Forget, aliasId: string, actor: string) {
  const raised = await retried(() =>
    orm.em.fork().transactional(async (em) => {
      await lockProfiles(em)
      const ownerId = await readOwnerId(em, aliasId)
      if (ownerId === undefined) throw notFound('Alias', aliasId)
      const link = { alias_id: aliasId, user_id: ownerId }
      const forced = await readForced(em, [ownerId])
      const returned = await readLinksVia(em, link)
      await exposeFromJoin(em, [aliasId, ...returned], ownerId)
      await keepForAlias(em, link)
      await keepForReturned(
        em,
        returned.map((alias_id) => ({ alias_id, user_id: aliasId, former_id: ownerId })),
      )
      await keepDraws(em, link)
      await deleteLink(em, aliasId)
      await returnLinks(em, returned, aliasId)
      await logUserChanges(em, [{ ...linkSubject(link), before: link, after: null, actor }])
      // Caches may hold data of the aliases under the owner, which does not stay true.
      return raiseVersions(em, [aliasId, ownerId, ...returned], 'erased', forced.now)
    }),
  )
  await forget(raised)
}

/**
 * Joins links in memory, one after the other; each link sees the links before it. At any time an id has at most one
 * owner, and an owner is never an alias.
 * @param stored the owners of all ids of `wanted`, and the aliases of the ids that are to be joined
 * @param persons what is known of the ids of `wanted`. A person's rollouts are drawn by the first id that the platform
 * knew: an owner of whom nothing is stored adopts the draws of the alias
 * @returns `changed`: new links by alias; `joined`: the links by which the calls changed something; `repointed`: the
 * aliases that had another owner before; `drawIds`: the ids that new persons draw by; `concerned`: the ids whose cached
 * data becomes invalid; `outcomes`: makes the results of the calls
 */
function settle(wanted: readonly WantedLink[], stored: readonly StoredLink[], persons: Persons = NOBODY) {
  const owners = new Map(stored.map((link) => [link.alias_id, link.user_id]))
  const times = new Map(stored.map((link) => [link.alias_id, link.created_at]))
  const vias = new Map(stored.map((link) => [link.alias_id, link.via_id]))
  const aliases = new Map<string, Set<string>>()
  const join = (aliasId: string, ownerId: string) => {
    aliases.get(owners.get(aliasId) ?? '')?.delete(aliasId)
    owners.set(aliasId, ownerId)
    aliases.set(ownerId, (aliases.get(ownerId) ?? new Set()).add(aliasId))
  }
  for (const link of stored) join(link.alias_id, link.user_id)
  const former = new Map(owners)
  /** New links by alias. If several aliases have assignments for one owner, the first in this order wins. */
  const changed = new Map<string, LinkVia>()
  const known = new Set(persons.known)
  const drawIds = new Map<string, string>()

  const joined: WantedLink[] = []
  const refused = wanted.map(({ alias_id, user_id, actor }): DomainError | null => {
    const owner = owners.get(user_id) ?? user_id
    if (alias_id === user_id)
      return invalid(`${alias_id} cannot be an alias of itself: give two different ids`, 'alias_id')
    if (owner === alias_id)
      return invalid(
        `${user_id} is an alias of ${alias_id} already: joining them the other way would form a circle`,
        'alias_id',
      )
    const present = owners.get(alias_id)
    if (present === owner) return null
    if (present !== undefined) return takenAlias({ alias_id, user_id }, present)
    // The owner of an id that is linked already is known.
    if (owner === user_id && !known.has(owner)) {
      drawIds.set(owner, drawIds.get(alias_id) ?? persons.drawIds.get(alias_id) ?? alias_id)
      known.add(owner)
    }
    known.add(alias_id)
    const follow = (aliasId: string, viaId: string | null) => {
      join(aliasId, owner)
      vias.set(aliasId, viaId)
      changed.delete(aliasId)
      changed.set(aliasId, { alias_id: aliasId, user_id: owner, via_id: viaId })
    }
    const followers = [...(aliases.get(alias_id) ?? [])]
    follow(alias_id, user_id === owner ? null : user_id)
    for (const aliasId of followers) follow(aliasId, vias.get(aliasId) ?? alias_id)
    joined.push({ alias_id, user_id: owner, actor })
    return null
  })

  const repointed = [...changed.values()].flatMap(({ alias_id, user_id }): Repointed[] => {
    const former_id = former.get(alias_id)
    return former_id === undefined ? [] : [{ alias_id, user_id, former_id }]
  })
  /** @param joinedAt times of the stored links in milliseconds since 1970, by alias */
  const outcomes = (joinedAt: ReadonlyMap<string, number>) =>
    wanted.map(
      ({ alias_id }, index): StoredLink | DomainError =>
        refused[index] ?? {
          alias_id,
          user_id: owners.get(alias_id) as string,
          via_id: vias.get(alias_id) ?? null,
          created_at: (joinedAt.get(alias_id) ?? times.get(alias_id)) as number,
        },
    )
  const concerned = new Set([...changed.values()].flatMap(({ alias_id, user_id }) => [alias_id, user_id]))
  return { changed, joined, repointed, drawIds, concerned, outcomes }
}

/** Makes the error for an alias that has another owner. */
const takenAlias = ({ alias_id, user_id }: Link, ownerId: string) =>
  conflict(
    `${alias_id} is an alias of ${ownerId}: to join it to ${user_id} instead, undo that join first ` +
      `(DELETE /api/users/alias/${encodeURIComponent(alias_id)})`,
  )
