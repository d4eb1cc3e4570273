import type { Deciding } from '../assignments/decide.ts'
import { type Known, type Recalled, recallConfirmed, recallIn } from '../assignments/recall.ts'
import type { FlagSubject } from '../evaluation/flag.ts'
import { needsProfile } from '../evaluation/targeting.ts'
import type { Json } from '../wire.ts'
import {
  type Entry,
  type Evaluated,
  evaluateEntry,
  exposureOf,
  idsAlone,
  isExperiment,
  needsUser,
  nobody,
  subjectWith,
} from './evaluate.ts'

/** Evaluates flags from the memory of this process: nothing is looked up, drawn or stored. */

/** An evaluation for one user, with the attributes of the call. */
type Asking = {
  readonly user_id: string
  readonly attributes: Record<string, Json>
  /** true: the user is shown the variants, so an exposure that is not stored yet must be stored first. */
  readonly expose: boolean
}

/**
 * Evaluates flags, and experiments read as flags; see `recallConfirmed`.
 * @param key one key; null for all keys
 * @returns answers in the order of the keys; undefined if anything has to be looked up, drawn or stored, or if the key
 *   is unknown
 */
export const recallFlags = (deciding: Deciding, key: string | null, asking: Asking) =>
  recallConfirmed(deciding, asking.user_id, (known) => evaluateEach(deciding, key, asking, known))

function evaluateEach(
  deciding: Deciding,
  key: string | null,
  asking: Asking,
  known: Known,
): [key: string, Evaluated][] | undefined {
  const { byKey } = deciding.watch.snapshot()
  const entry = key === null ? undefined : byKey.get(key)
  if (key !== null && !entry) return undefined
  const entries: Iterable<readonly [string, Entry]> = key !== null && entry ? [[key, entry]] : byKey
  const subject = recallSubject(deciding, entries, asking)
  if (!subject) return undefined
  const check = { ...asking, starts: false }
  const variantIn = (experimentId: number) => {
    const recalled = recallIn(deciding, check, experimentId, known)
    return recalled && givenBy(recalled, asking)
  }
  const answers: [string, Evaluated][] = []
  for (const [name, each] of entries) {
    const found = evaluateEntry(each, subject, variantIn)
    if (typeof found === 'number') return undefined
    answers.push([name, found])
  }
  return answers
}

const givenBy = ({ experiment, variant, stored }: Recalled, { expose }: Asking) => ({
  variantId: variant.id,
  exposure: exposureOf(experiment, stored !== undefined, expose),
})

/** Gets the user from memory. @returns undefined if this process does not remember what the flags read */
function recallSubject(
  { profiles }: Deciding,
  entries: Iterable<readonly [string, Entry]>,
  { user_id, attributes }: Asking,
): FlagSubject | undefined {
  let needs = false
  let reads = false
  for (const [, entry] of entries) {
    needs ||= needsUser(entry)
    reads ||= !isExperiment(entry) && needsProfile(entry.profileReads, attributes)
  }
  // An experiment looks up its user itself.
  if (!needs) return nobody
  if (reads) {
    const profile = profiles.peekWithNegatives(user_id)
    return profile && subjectWith(profile, attributes)
  }
  const ids = profiles.peekIds(user_id)
  return ids && idsAlone(ids, attributes)
}
