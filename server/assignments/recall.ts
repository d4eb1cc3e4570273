import type { ExperimentDefinition, Subject, VariantDefinition } from '../evaluation/definition.ts'
import { needsProfile } from '../evaluation/targeting.ts'
import type { UserProfile } from '../users/profile-cache.ts'
import type { Deciding } from './decide.ts'
import type { Remembered, RememberedRuns } from './memory.ts'
import { type Answer, type Check, mustExpose, settleStored, storedIn, subjectOf, type UserCheck } from './settle.ts'

/** Answers checks from the memory of this process: nothing is looked up, drawn or stored. */

/** The answer of one experiment. */
export type Recalled = {
  readonly experiment: ExperimentDefinition
  readonly variant: VariantDefinition
  /** The stored assignment; undefined for an override or a shipped variant. */
  readonly stored: Remembered | undefined
}

/**
 * Answers one experiment of a check from memory.
 * @param runs the user's assignments that this process remembers
 * @returns null if the user gets no variant, undefined if something has to be looked up, drawn or stored
 */
export function recallIn(
  deciding: Deciding,
  check: UserCheck,
  runs: RememberedRuns,
  experimentId: number,
): Recalled | null | undefined {
  const { experiments, highestId } = deciding.watch.snapshot()
  const experiment = experiments.get(experimentId)
  if (!experiment) return experimentId > highestId ? undefined : null
  const stored = storedIn(experiment, runs)
  const subject = experiment.leavesOut ? recallSubject(deciding, check, experiment, runs) : undefined
  const decision = settleStored(experiment, check, stored, subject)
  if (!decision) return undefined
  switch (decision.outcome) {
    case 'stored':
      return mustExpose(experiment, stored, check) ? undefined : { experiment, variant: decision.variant, stored }
    case 'left out':
      // An answer without a stored row is not fenced. A stored variant that the snapshot lacks is newer than the
      // snapshot, so the answer is not given from memory.
      return experiment.variants.some((variant) => variant.id === stored?.variantId) ? null : undefined
    default:
      return { experiment, variant: decision.variant, stored: undefined }
  }
}

/** Makes the subject that targeting reads. A profile is needed only for what the attributes of the check lack. */
function recallSubject(
  { profiles }: Deciding,
  check: UserCheck,
  { profileReads }: ExperimentDefinition,
  runs: RememberedRuns,
): Subject | undefined {
  const profile = profiles.peek(check.user_id)
  if (profile) return subjectOf(profile, check, runs)
  if (!check.attributes || needsProfile(profileReads, check.attributes)) return undefined
  const ownerId = profiles.peekOwner(check.user_id)
  return ownerId === undefined ? undefined : subjectOf({ ...UNREAD, ownerId }, check, runs)
}

/** A profile of which only the owner is read. */
const UNREAD: Omit<UserProfile, 'ownerId'> = { known: true, attributes: {}, segmentIds: new Set() }

/**
 * Answers a check from memory.
 * @returns the experiments in which the user has a variant; null if something has to be looked up or stored
 */
export function recallEach(deciding: Deciding, check: Check): Recalled[] | null {
  const runs = deciding.memory.peek(check.user_id)
  if (!runs) return null
  const found: Recalled[] = []
  for (const id of check.experiment_ids) {
    const recalled = recallIn(deciding, check, runs, id)
    if (recalled === undefined) return null
    if (recalled !== null) found.push(recalled)
  }
  return found
}

/** Answers a check from memory. @returns null if something has to be looked up or stored */
export function recallAnswers(deciding: Deciding, check: Check): Answer[] | null {
  const found = recallEach(deciding, check)
  if (found === null) return null
  return found.map(({ experiment, variant, stored }) => ({
    experiment,
    variant,
    assignedAt: stored?.assignedAt ?? null,
    fenced: true,
  }))
}
