import type { ExperimentDefinition, Subject, VariantDefinition } from '../evaluation/definition.ts'
import { draw, startsOnCheck } from '../evaluation/evaluate.ts'
import { needsProfile } from '../evaluation/targeting.ts'
import type { UserProfile } from '../users/profile-cache.ts'
import type { Deciding } from './decide.ts'
import type { Remembered, RememberedRuns } from './memory.ts'
import { type Answer, type Check, mustExpose, settleStored, storedIn, subjectOf, type UserCheck } from './settle.ts'

/** Answers checks from the memory of this process: nothing is drawn that has to be stored. */

/** The answer of one experiment. */
export type Recalled = {
  readonly experiment: ExperimentDefinition
  readonly variant: VariantDefinition
  /** The stored assignment; undefined for an override or a shipped variant. */
  readonly stored: Remembered | undefined
}

/**
 * The material of an answer, and the facts that must be confirmed before it is given. A stored assignment needs no
 * confirmation, because it never changes. That a user has no variant is true only as long as no other process has
 * stored one, and the definitions are the same.
 */
export type Known = {
  /** The assignments of the user that this process remembers. */
  readonly runs: RememberedRuns
  /** The answer holds only if no further assignment of the user is stored. */
  needsAssignments: boolean
  /** The answer holds only if the definitions are current. */
  needsDefinitions: boolean
}

const NO_RUNS: RememberedRuns = new Map()

/**
 * Makes an answer from memory. If the answer needs a confirmation, reads the versions of the definitions and the user's
 * assignments, at the same time, and then makes the answer again.
 * @param recall makes the answer; undefined if something has to be looked up, drawn or stored
 * @returns undefined also if the definitions changed meanwhile: the answer must then be made in another way
 * @throws the database's error, as a rejection
 */
export function recallConfirmed<Made>(
  { watch, memory }: Deciding,
  userId: string,
  recall: (known: Known) => Made | undefined,
): Made | undefined | Promise<Made | undefined> {
  const snapshot = watch.snapshot()
  const known: Known = { runs: memory.peek(userId) ?? NO_RUNS, needsAssignments: false, needsDefinitions: false }
  const made = recall(known)
  return made === undefined || !(known.needsAssignments || known.needsDefinitions) ? made : confirm(made)

  async function confirm(unconfirmed: Made): Promise<Made | undefined> {
    const [runs] = await Promise.all([known.needsAssignments ? memory.load(userId) : undefined, watch.refresh()])
    // The versions were the same before and after the assignments were read, so both are of one moment.
    if (watch.snapshot() !== snapshot) return undefined
    return runs === undefined ? unconfirmed : recall({ ...known, runs })
  }
}

/**
 * Answers one experiment of a check from memory.
 * @returns null if the user gets no variant, undefined if something has to be looked up, drawn or stored
 */
export function recallIn(
  deciding: Deciding,
  check: UserCheck,
  experimentId: number,
  known: Known,
): Recalled | null | undefined {
  const { experiments, highestId } = deciding.watch.snapshot()
  const experiment = experiments.get(experimentId)
  if (!experiment) return experimentId > highestId ? undefined : null
  const stored = storedIn(experiment, known.runs)
  const subject = experiment.leavesOut ? recallSubject(deciding, check, experiment, known.runs) : undefined
  const decision = settleStored(experiment, check, stored, subject)
  if (!decision) return stored === undefined ? recallUndrawn(deciding, check, experiment, known) : undefined
  switch (decision.outcome) {
    case 'stored':
      return mustExpose(experiment, stored, check) ? undefined : { experiment, variant: decision.variant, stored }
    case 'left out':
      if (stored === undefined) return leaveOut(known, experiment.status === 'paused')
      // A stored variant that the snapshot lacks is newer than the snapshot.
      return experiment.variants.some((variant) => variant.id === stored.variantId) ? null : undefined
    default:
      return { experiment, variant: decision.variant, stored: undefined }
  }
}

function leaveOut(known: Known, needsAssignments: boolean): null {
  known.needsDefinitions = true
  known.needsAssignments ||= needsAssignments
  return null
}

/** Draws a user without a stored assignment. @returns null if the draw gives no variant, so that nothing is stored */
function recallUndrawn(
  deciding: Deciding,
  check: UserCheck,
  experiment: ExperimentDefinition,
  known: Known,
): null | undefined {
  if (experiment.status === 'draft' && check.starts === false) return leaveOut(known, false)
  if (startsOnCheck(experiment) && !check.preview) return undefined
  const subject = recallSubject(deciding, check, experiment, known.runs)
  // A holdout is decided and stored before its experiments, and an alias is drawn as its owner.
  if (!subject || subject.userId !== check.user_id || experiment.holdout) return undefined
  return draw(experiment, subject).outcome === 'left out' ? leaveOut(known, true) : undefined
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
  const ids = profiles.peekIds(check.user_id)
  return ids && subjectOf({ ...UNREAD, ...ids }, check, runs)
}

/** A profile of which only the owner is read. */
const UNREAD: Omit<UserProfile, 'ownerId' | 'drawId'> = { known: true, attributes: {}, segmentIds: new Set() }

/**
 * Answers a check from memory.
 * @returns the experiments in which the user has a variant; undefined if something has to be looked up, drawn or stored
 */
export function recallEach(deciding: Deciding, check: Check, known: Known): Recalled[] | undefined {
  // Without attributes, an unknown user is a fault.
  if (!check.attributes && known.runs.size === 0 && !deciding.profiles.isKnown(check.user_id)) return undefined
  const found: Recalled[] = []
  for (const id of check.experiment_ids) {
    const recalled = recallIn(deciding, check, id, known)
    if (recalled === undefined) return undefined
    if (recalled !== null) found.push(recalled)
  }
  return found
}

/** Answers a check from memory, if the answer needs no confirmation. */
export function recallAnswers(deciding: Deciding, check: Check): Answer[] | undefined {
  const runs = deciding.memory.peek(check.user_id)
  if (!runs) return undefined
  const known: Known = { runs, needsAssignments: false, needsDefinitions: false }
  const found = recallEach(deciding, check, known)
  if (known.needsAssignments || known.needsDefinitions) return undefined
  return found?.map(({ experiment, variant, stored }) => ({
    experiment,
    variant,
    assignedAt: stored?.assignedAt ?? null,
    fenced: true,
  }))
}
