import type { Random } from './random.ts'

/** How many are new at a time: they are asked for often, on both processes at once. */
const NEWEST = 64

/** Ids that come in one after the other, and the pairs of them that turn out to be one person. */
export function createUsers(random: Random, comingIn: number) {
  let known = NEWEST
  let newcomers = 0
  const roles = new Map<string, 'alias' | 'owner'>()
  const owners: string[] = []
  const nameOf = (index: number) => (index % 4 === 3 ? `anonymous ${index}` : `user ${index}`)
  const pick = () => nameOf(random.chance(0.3) ? known - 1 - random.below(NEWEST) : random.below(known))

  return {
    pick,
    /** @param progress the share of the whole run that is done */
    comeIn: (progress: number) => {
      known = Math.max(known, NEWEST + Math.floor(progress * comingIn))
    },
    /** An id that nobody was asked about. */
    unheardOf: () => `newcomer ${++newcomers}`,
    /**
     * Two ids to be joined for good: nobody changes hands, and an owner is never an alias.
     * @returns null where those picked by chance cannot be joined
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
    /** Who has aliases; undefined where nobody has. */
    pickOwner: () => (owners.length > 0 ? random.pick(owners) : undefined),
    known: () => [...Array.from({ length: known }, (_, index) => nameOf(index)), ...owners],
  }
}
export type Users = ReturnType<typeof createUsers>
