import type { ExperimentDefinition, Subject, VariantDefinition } from '../evaluation/definition.ts'
import { type Decision, decideSettled, isLeftOut } from '../evaluation/evaluate.ts'
import type { UserProfile } from '../users/profile-cache.ts'
import type { Json } from '../wire.ts'
import type { Remembered, RememberedRuns } from './memory.ts'

/** One user's question; `preview` stores nothing, exposes nobody and starts nothing. */
export type Check = {
  user_id: string
  experiment_ids: readonly number[]
  attributes?: Record<string, Json> | null | undefined
  expose?: boolean | null | undefined
  preview?: boolean | null | undefined
  /** false: the check starts no draft, and answers a draft only by an override. */
  starts?: boolean
}

/** `fenced`: the answer rests on a row that was stored under the fence, on an override or on a shipped variant. */
export type Answer = {
  experiment: ExperimentDefinition
  variant: VariantDefinition
  assignedAt: number | null
  fenced: boolean
}

/** The user's assignment in the experiment's current run. */
export const storedIn = (experiment: ExperimentDefinition, runs: RememberedRuns | undefined): Remembered | undefined =>
  experiment.run ? runs?.get(experiment.run.id) : undefined

/** Tells whether the user's exposure must be stored before the variant is answered. */
export const mustExpose = (experiment: ExperimentDefinition, stored: Remembered | undefined, check: Check) =>
  stored !== undefined && !stored.exposed && experiment.exposesOnCheck && check.expose !== false && !check.preview

export const subjectOf = (profile: UserProfile, check: Check, runs: RememberedRuns): Subject => ({
  userId: profile.ownerId,
  askedId: check.user_id,
  // Rules ask for `id` to name a user, and no call can pretend to be another one.
  attributes: check.attributes
    ? { ...profile.attributes, ...check.attributes, id: profile.ownerId }
    : profile.attributes,
  segmentIds: profile.segmentIds,
  runs,
})

const NO_LONGER_TARGETED: Decision = { outcome: 'left out', reason: 'no longer targeted' }

/**
 * Decides one experiment by its status, an override or the user's stored assignment.
 * @param subject needed only where the experiment leaves out assigned users whom it no longer targets
 * @returns null where the user has to be drawn, or where the subject is needed and missing
 */
export function settleStored(
  experiment: ExperimentDefinition,
  check: Check,
  stored: Remembered | undefined,
  subject: Subject | undefined,
): Decision | null {
  const decision = decideSettled(experiment, check.user_id, stored)
  if (decision?.outcome !== 'stored' || !experiment.leavesOut) return decision
  if (!subject) return null
  return isLeftOut(experiment, subject) ? NO_LONGER_TARGETED : decision
}
