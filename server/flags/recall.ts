import type { Deciding } from '../assignments/decide.ts'
import { type Recalled, recallIn } from '../assignments/recall.ts'
import type { FlagSubject } from '../evaluation/flag.ts'
import { needsProfile } from '../evaluation/targeting.ts'
import type { Json } from '../wire.ts'
import {
  type Entry,
  type Evaluated,
  evaluateEntry,
  exposureOf,
  isExperiment,
  needsUser,
  nobody,
  ownerAlone,
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
 * Evaluates one flag, or one experiment read as a flag.
 * @returns undefined if anything has to be looked up or stored, or if the key is unknown
 */
export function recallFlag(deciding: Deciding, key: string, asking: Asking): Evaluated | undefined {
  const entry = deciding.watch.snapshot().byKey.get(key)
  if (!entry) return undefined
  const subject = recallSubject(deciding, [entry], asking)
  return subject && evaluateWith(deciding, entry, subject, asking)
}

/**
 * Evaluates all flags, and all experiments read as flags.
 * @returns answers in the order of their keys; undefined if anything has to be looked up or stored
 */
export function recallFlags(deciding: Deciding, asking: Asking): [key: string, Evaluated][] | undefined {
  const { byKey } = deciding.watch.snapshot()
  const subject = recallSubject(deciding, byKey.values(), asking)
  if (!subject) return undefined
  const answers: [string, Evaluated][] = []
  for (const [key, entry] of byKey) {
    const found = evaluateWith(deciding, entry, subject, asking)
    if (found === undefined) return undefined
    answers.push([key, found])
  }
  return answers
}

function evaluateWith(deciding: Deciding, entry: Entry, subject: FlagSubject, asking: Asking): Evaluated | undefined {
  const found = evaluateEntry(entry, subject, (experimentId) => {
    const runs = deciding.memory.peek(asking.user_id)
    const recalled = runs && recallIn(deciding, asking, runs, experimentId)
    return recalled && givenBy(recalled, asking)
  })
  return typeof found === 'number' ? undefined : found
}

const givenBy = ({ experiment, variant, stored }: Recalled, { expose }: Asking) => ({
  variantId: variant.id,
  exposure: exposureOf(experiment, stored !== undefined, expose),
})

/** Gets the user from memory. @returns undefined if this process does not remember what the flags read */
function recallSubject(
  { profiles }: Deciding,
  entries: Iterable<Entry>,
  { user_id, attributes }: Asking,
): FlagSubject | undefined {
  let needs = false
  let reads = false
  for (const entry of entries) {
    needs ||= needsUser(entry)
    reads ||= !isExperiment(entry) && needsProfile(entry.profileReads, attributes)
  }
  // An experiment looks up its user itself.
  if (!needs) return nobody
  if (reads) {
    const profile = profiles.peekWithNegatives(user_id)
    return profile && subjectWith(profile, attributes)
  }
  const ownerId = profiles.peekOwner(user_id)
  return ownerId === undefined ? undefined : ownerAlone(ownerId, attributes)
}
