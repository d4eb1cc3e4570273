import { setImmediate } from 'node:timers/promises'
import type { EntityManager } from '@mikro-orm/sql'
import type { Attributes } from '../evaluation/condition.ts'
import { countProfiles, loadPersons, sampleProfiles } from './queries.ts'

/** Profiles that are read at once: some 20 ms on the embedded database, which everybody else waits for. */
const CHUNK = 200
/** How long profiles are worked on until others have a turn. */
const TURN_MS = 10

/** A stored profile as deciding reads it. */
export type Profile = {
  readonly userId: string
  /** Whom the id is an alias of; itself where it is none. */
  readonly ownerId: string
  readonly attributes: Attributes
  readonly segmentIds: ReadonlySet<number>
}

export type ProfileSample = {
  /** How many profiles are stored. */
  readonly profiles: number
  readonly sampled: number
  /** Whether the sample is not all of them. */
  readonly estimated: boolean
  /** What a count of the sample makes of all profiles. */
  readonly scaled: (count: number) => number
  readonly read: () => AsyncGenerator<readonly Profile[]>
}

/** All stored profiles, or a random sample of about so many. */
export async function sampleOf(em: EntityManager, most: number): Promise<ProfileSample> {
  const stored = await countProfiles(em)
  const estimated = stored > most
  const ids = stored === 0 ? [] : await sampleProfiles(em, Math.min(1, most / stored))
  const profiles = estimated ? stored : ids.length
  return {
    profiles,
    sampled: ids.length,
    estimated,
    scaled: (count) => (estimated && ids.length > 0 ? Math.round((count / ids.length) * profiles) : count),
    async *read() {
      for (let from = 0; from < ids.length; from += CHUNK) {
        const rows = await loadPersons(em, ids.slice(from, from + CHUNK))
        yield rows.map(({ user_id, owner_id, attributes, segment_ids }) => ({
          userId: user_id,
          ownerId: owner_id,
          attributes,
          segmentIds: new Set(segment_ids),
        }))
      }
    },
  }
}

/** @returns a function that waits for the others whenever this work has had its time */
export function takeTurns() {
  let since = performance.now()
  return async () => {
    if (performance.now() - since < TURN_MS) return
    await setImmediate()
    since = performance.now()
  }
}
