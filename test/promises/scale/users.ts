import type { Random } from './random.ts'

/** The number of newest users. They make many of the requests, on both processes at once. */
const NEWEST = 64

/**
 * Creates ids that are admitted one after the other, and pairs of ids that turn out to be one person.
 * @param admitted the number of ids that are admitted during the whole run
 */
export function createUsers(random: Random, admitted: number) {
  let known = NEWEST
  let newcomers = 0
  const roles = new Map<string, 'alias' | 'owner'>()
  const owners: string[] = []
  const nameOf = (index: number) => (index % 4 === 3 ? `anonymous ${index}` : `user ${index}`)
  const pick = () => nameOf(random.chance(0.3) ? known - 1 - random.below(NEWEST) : random.below(known))

  return {
    pick,
    /** @param progress the share of the whole run that is done */
    admit: (progress: number) => {
      known = Math.max(known, NEWEST + Math.floor(progress * admitted))
    },
    /** Makes an id that was never used before. */
    newcomer: () => `newcomer ${++newcomers}`,
    /**
     * Picks two ids to be joined. An alias keeps its owner, and an owner never becomes an alias.
     * @returns null if the two random ids cannot be joined
     */
    pickPair(): { alias_id: string; user_id: string } | null {
      const alias_id = pick()
      const user_id = random.chance(0.4) ? `login ${alias_id}` : pick()
      if (alias_id === user_id || roles.has(alias_id) || roles.get(user_id) === 'alias') return null
      roles.set(alias_id, 'alias')
      roles.set(user_id, 'owner')
      owners.push(user_id)
      return { alias_id, user_id }
    },
    /** Picks a user with aliases; undefined if there is none. */
    pickOwner: () => (owners.length > 0 ? random.pick(owners) : undefined),
    known: () => [...Array.from({ length: known }, (_, index) => nameOf(index)), ...owners],
  }
}
export type Users = ReturnType<typeof createUsers>
