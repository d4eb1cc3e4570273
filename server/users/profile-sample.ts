import { setImmediate } from 'node:timers/promises'
import type { EntityManager } from '@mikro-orm/sql'
import type { UserProfile } from './profile-cache.ts'
import { countPages, countProfiles, readProfiles } from './queries.ts'

/**
 * Reads stored profiles for previews: all of them, or a random sample if there are many. Profiles are read in chunks:
 * each chunk keeps the embedded database, which runs on the event loop's thread, busy for about 10 ms.
 */

/** Pages of the table that one statement counts, about 70,000 profiles, and that one statement reads, about 300. */
const COUNTED_PAGES = 1000
const READ_PAGES = 4
/**
 * The share of pages that is drawn is this many times the share of profiles. Users who were stored together are alike
 * and share a page, so few profiles are taken from each of many pages.
 */
const SPREAD = 4
/** The longest time that a preview works without a pause. */
const WORK_MS = 10

/** A stored profile as decisions read it. */
export type Profile = Omit<UserProfile, 'known' | 'drawId'> & { readonly userId: string }

/** A sample of the stored profiles, which is read chunk by chunk. */
type ProfileSample = {
  /** The number of stored profiles. */
  readonly profiles: number
  /** True if the sample is smaller than the number of stored profiles. */
  readonly estimated: boolean
  readonly read: () => AsyncGenerator<readonly Profile[]>
  /** Returns the number of profiles that have been read. */
  readonly sampled: () => number
  /** Scales a count among the profiles that have been read up to all profiles. */
  readonly scaled: (count: number) => number
}

/**
 * Draws a random sample of the stored profiles.
 * @param most the approximate size of the sample; all profiles are read if there are no more
 */
export async function drawSample(em: EntityManager, most: number): Promise<ProfileSample> {
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

/** Makes a function that lets other work run when this work has run for WORK_MS without a pause. */
export function createPause() {
  let since = performance.now()
  return async () => {
    if (performance.now() - since < WORK_MS) return
    await setImmediate()
    since = performance.now()
  }
}
