import { setImmediate } from 'node:timers/promises'
import type { EntityManager } from '@mikro-orm/sql'
import type { Attributes } from '../evaluation/condition.ts'
import { countPages, countProfiles, readProfiles } from './queries.ts'

/**
 * Stored profiles for previews: all of them, or a random sample of many. Read in pieces that hold the embedded
 * database, which lives on the event loop's thread, for some 10 ms each.
 */

/** Pages that are counted at once, some 70,000 profiles, and read at once, some 300. */
const COUNTED_PAGES = 1000
const READ_PAGES = 4
/** How many times as many pages as rows are drawn: people stored together are alike, and share a page. */
const SPREAD = 4
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
  /** Whether the sample is not all of them. */
  readonly estimated: boolean
  readonly read: () => AsyncGenerator<readonly Profile[]>
  /** How many have been read. */
  readonly sampled: () => number
  /** What a count of those read makes of all profiles. */
  readonly scaled: (count: number) => number
}

/** @param most how many profiles are looked at, about; all of them where there are no more */
export async function sampleOf(em: EntityManager, most: number): Promise<ProfileSample> {
  const pages = await countPages(em)
  let profiles = 0
  for (let from = 0; from < pages; from += COUNTED_PAGES)
    profiles += await countProfiles(em, from, from + COUNTED_PAGES)
  const estimated = profiles > most
  const share = estimated ? most / profiles : 1
  const sharePages = Math.min(1, share * SPREAD)
  let sampled = 0
  async function* read() {
    for (let from = 0; from < pages; from += READ_PAGES) {
      if (sharePages < 1 && Math.random() >= sharePages) continue
      const rows = await readProfiles(em, from, from + READ_PAGES, share / sharePages)
      sampled += rows.length
      yield rows.map(({ user_id, owner_id, attributes, segment_ids }) => ({
        userId: user_id,
        ownerId: owner_id,
        attributes,
        segmentIds: new Set(segment_ids),
      }))
    }
  }
  return {
    profiles,
    estimated,
    read,
    sampled: () => sampled,
    scaled: (count) => (estimated && sampled > 0 ? Math.round((count / sampled) * profiles) : count),
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
