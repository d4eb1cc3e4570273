import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import type { AssignmentMemory } from '../assignments/memory.ts'
import type { Cache } from '../cache/cache.ts'
import { keys } from '../cache/keys.ts'
import { isPassing } from '../database/errors.ts'
import { createGroupCommit } from '../database/group-commit.ts'
import { retried } from '../database/retry.ts'
import { lockProfiles, raiseDefinitions, raiseProfiles } from '../definitions/queries.ts'
import { REMEMBER_SECONDS, userDigest, type Watch } from '../definitions/watch.ts'
import { conflict, DomainError, invalid, unavailable } from '../errors.ts'
import {
  copyToOwners,
  excludeForced,
  keepFormer,
  type Link,
  type Repointed,
  readForced,
  readLinks,
  type StoredLink,
  storeLinks,
} from './alias-queries.ts'
import type { ProfileCache } from './profile-cache.ts'

/** Joins ids to their owners. Logins that arrive together share one transaction and are answered after its commit. */
export type AliasWriter = {
  /** @throws DomainError CONFLICT where the alias has another owner, BAD_REQUEST for a circle */
  join: (link: Link) => Promise<StoredLink>
  drained: () => Promise<void>
}

/** The versions that one transaction raised: the profiles' version, and the definitions' version where it changed. */
export type Raised = { userIds: readonly string[]; profiles: number; definitions: number | null }

/**
 * Drops what is cached of users who were joined or erased, in this process and the others. Call it after the commit.
 */
export type Forget = (raised: Raised) => Promise<void>

/** Raises the versions that fence the caches and decisions of these users. */
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
    // The snapshot before lists overrides by id.
    await cache.drop(keys.snapshot(raised.definitions - 1))
    cache.publish({ kind: 'definitions', version: raised.definitions })
    // The change is committed: if this look fails, the next poll finds it.
    await watch.refresh().catch(() => {})
  }
}

/**
 * The transaction of each group holds up decisions and events that are being stored: a longer wait makes fewer, larger
 * groups.
 */
const WAIT_MS = 10

export function createAliasWriter({ orm, forget }: { orm: MikroORM; forget: Forget }): AliasWriter {
  const group = createGroupCommit<Link, StoredLink | DomainError>({
    waitMs: WAIT_MS,
    maxWeight: 500,
    maxWaiting: 20_000,
    concurrency: 1,
    write: async (wanted) => {
      // Most logins repeat a link that is stored: these hold up nobody.
      const known = settle(wanted, await readLinks(orm.em.fork(), wanted))
      if (known.changed.size === 0) return known.outcomes(new Map())
      const { outcomes, raised } = await joined(orm, wanted)
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

/** Joins in one transaction; nothing that was decided before it is stored after it. */
async function joined(orm: MikroORM, wanted: readonly Link[]) {
  try {
    return await retried(() =>
      orm.em.fork().transactional(async (em) => {
        await lockProfiles(em)
        const { changed, repointed, concerned, outcomes } = settle(wanted, await readLinks(em, wanted))
        if (changed.size === 0) return { outcomes: outcomes(new Map()), raised: null }
        const links = [...changed].map(([alias_id, user_id]) => ({ alias_id, user_id }))
        const stored = await storeLinks(em, links)
        await copyToOwners(em, links)
        if (repointed.length > 0) await keepFormer(em, repointed)
        const ownerIds = [...new Set(changed.values())]
        const forced = await readForced(em, ownerIds)
        if (forced.ever) await excludeForced(em, ownerIds)
        const raised = await raiseVersions(em, [...concerned], 'joined', forced.now)
        return { outcomes: outcomes(new Map(stored.map((link) => [link.alias_id, link.created_at]))), raised }
      }),
    )
  } catch (error) {
    // Retried one by one they would wait as long as together.
    if (isPassing(error)) throw unavailable('Too much is being stored to join ids; try again soon')
    throw error
  }
}

/**
 * Joins the wanted links in memory, one after the other: each sees those before it. Before and after each of them an id
 * has at most one owner, and an owner is never an alias.
 * @param stored the owners of all ids wanted, and the aliases of those to be joined
 */
function settle(wanted: readonly Link[], stored: readonly StoredLink[]) {
  const owners = new Map(stored.map((link) => [link.alias_id, link.user_id]))
  const times = new Map(stored.map((link) => [link.alias_id, link.created_at]))
  const aliases = new Map<string, Set<string>>()
  const join = (aliasId: string, ownerId: string) => {
    aliases.get(owners.get(aliasId) ?? '')?.delete(aliasId)
    owners.set(aliasId, ownerId)
    aliases.set(ownerId, (aliases.get(ownerId) ?? new Set()).add(aliasId))
  }
  for (const link of stored) join(link.alias_id, link.user_id)
  const former = new Map(owners)
  /** New owners by alias, in the order in which aliases give their assignments to their owners. */
  const changed = new Map<string, string>()

  const refused = wanted.map(({ alias_id, user_id }): DomainError | null => {
    const owner = owners.get(user_id) ?? user_id
    if (alias_id === user_id) return invalid(`${alias_id} is no alias of itself`, 'alias_id')
    if (owner === alias_id)
      return invalid(`${user_id} is an alias of ${alias_id}: joining them again would make a circle`, 'alias_id')
    const present = owners.get(alias_id)
    if (present === owner) return null
    if (present !== undefined) return conflict(`${alias_id} is an alias of another user`)
    for (const aliasId of [alias_id, ...(aliases.get(alias_id) ?? [])]) {
      join(aliasId, owner)
      changed.delete(aliasId)
      changed.set(aliasId, owner)
    }
    return null
  })

  const repointed = [...changed].flatMap(([alias_id, user_id]): Repointed[] => {
    const former_id = former.get(alias_id)
    return former_id === undefined ? [] : [{ alias_id, user_id, former_id }]
  })
  /** @param joinedAt times of the links that were stored, by alias */
  const outcomes = (joinedAt: ReadonlyMap<string, number>) =>
    wanted.map(
      ({ alias_id }, index): StoredLink | DomainError =>
        refused[index] ?? {
          alias_id,
          user_id: owners.get(alias_id) as string,
          created_at: (joinedAt.get(alias_id) ?? times.get(alias_id)) as number,
        },
    )
  return { changed, repointed, concerned: new Set([...changed.keys(), ...changed.values()]), outcomes }
}
