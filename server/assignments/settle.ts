import { mergeAttributes } from '../evaluation/condition.ts'
import type { ExperimentDefinition, Subject, VariantDefinition } from '../evaluation/definition.ts'
import { type Decision, decideSettled, isLeftOut } from '../evaluation/evaluate.ts'
import type { UserProfile } from '../users/profile-cache.ts'
import type { Json } from '../wire.ts'
import type { Remembered, RememberedRuns } from './memory.ts'

/** How variants of one user are asked for. With `preview` the check stores nothing, exposes nobody, starts nothing. */
export type UserCheck = {
  user_id: string
  attributes?: Record<string, Json> | null | undefined
  expose?: boolean | null | undefined
  preview?: boolean | null | undefined
  /** false: the check starts no draft. In a draft, only users with an override get a variant. */
  starts?: boolean
}
/** A request for the variants of one user. */
export type Check = UserCheck & { experiment_ids: readonly number[] }

/**
 * The variant of a user in one experiment.
 * `assignedAt`: milliseconds since 1970; null if no assignment is stored.
 * `fenced`: the answer is a stored assignment, an override or a shipped variant, so it holds although the snapshot may
 * be old.
 */
export type Answer = {
  experiment: ExperimentDefinition
  variant: VariantDefinition
  assignedAt: number | null
  fenced: boolean
}

/** Gets the user's assignment in the current run of an experiment. */
export const storedIn = (experiment: ExperimentDefinition, runs: RememberedRuns | undefined): Remembered | undefined =>
  experiment.run ? runs?.get(experiment.run.id) : undefined

/** Tells whether the exposure must be stored before the variant is returned. */
export const mustExpose = (experiment: ExperimentDefinition, stored: Remembered | undefined, check: UserCheck) =>
  stored !== undefined && !stored.exposed && experiment.exposesOnCheck && check.expose !== false && !check.preview

/** Makes the subject that evaluation reads, from a profile and the attributes of a check. */
export const subjectOf = (profile: UserProfile, check: UserCheck, runs: RememberedRuns): Subject => ({
  userId: profile.ownerId,
  askedId: check.user_id,
  // Rules compare `id` with user ids, so the attribute `id` of a call is replaced: no call can pose as another user.
  attributes: check.attributes
    ? { ...mergeAttributes(profile.attributes, check.attributes), id: profile.ownerId }
    : profile.attributes,
  segmentIds: profile.segmentIds,
  at: Date.now(),
  runs,
})

const NO_LONGER_TARGETED: Decision = { outcome: 'left out', reason: 'no longer targeted' }

/**
 * Decides one experiment by its status, an override or the user's stored assignment.
 * @param subject needed only if the experiment leaves out assigned users whom it no longer targets
 * @returns null if the user has to be drawn, or if the subject is needed and missing
 */
export function settleStored(
  experiment: ExperimentDefinition,
  check: UserCheck,
  stored: Remembered | undefined,
  subject: Subject | undefined,
): Decision | null {
  const decision = decideSettled(experiment, check.user_id, stored)
  if (decision?.outcome !== 'stored' || !experiment.leavesOut) return decision
  if (!subject) return null
  return isLeftOut(experiment, subject) ? NO_LONGER_TARGETED : decision
}
