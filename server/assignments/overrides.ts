import type { EntityManager } from '@mikro-orm/sql'
import { logUserChanges, type UserChange } from '../audit/user-changes.ts'
import { lockProfilesShared, readClock } from '../definitions/queries.ts'
import { conflict, inArchive, invalid, notFound, notItsVariant } from '../errors.ts'
import { experimentChanged, lockExperiment, variantsOf } from '../experiments/changes.ts'
import { Experiment } from '../experiments/entity.ts'
import { expectUnchanged } from '../fields.ts'
import { Override } from './entity.ts'
import { endOverride, excludeOverridden } from './queries.ts'
import type { OverrideOf, SetOverride } from './schema.ts'
import * as wire from './schema.ts'

/** The most overrides of one experiment. Overrides are for testing: every process holds all of them in memory. */
const MAX_OVERRIDES = 1000

/**
 * Forces a variant on a user, for testing. An override is the only way to change a user's variant (promise 1), so the
 * results of the run leave the user out.
 * @throws DomainError BAD_REQUEST for a variant of another experiment; CONFLICT for an archived experiment, or one that
 * has the most overrides already
 */
export async function setOverride(em: EntityManager, input: SetOverride) {
  // The lock orders this call and a concurrent login: one of them sees the change of the other.
  await lockProfilesShared(em)
  const experiment = await lockExperiment(em, input.experiment_id)
  if (experiment.status === 'archived') throw inArchive(experiment.id)
  const variants = await variantsOf(em, experiment.id)
  if (!variants.some((variant) => variant.id === input.variant_id))
    throw invalid(notItsVariant(experiment.id, input.variant_id, variants), 'variant_id')
  const key = { user_id: input.user_id, experiment_id: experiment.id }
  const inForce = { ...key, removed_at: null }
  const before = await em.findOne(Override, inForce)
  await expectUnchanged({ update: wire.setOverride, answer: wire.override }, input, () => before)
  if (before?.variant_id === input.variant_id) return before
  if (before) await endOverride(em, key)
  else {
    const forced = await em.count(Override, { experiment_id: experiment.id, removed_at: null })
    if (forced >= MAX_OVERRIDES)
      throw conflict(
        `Experiment ${experiment.id} has ${forced} overrides already, which is the limit: use a segment for more users`,
      )
  }
  const override = em.create(Override, { ...key, variant_id: input.variant_id, created_at: await readClock(em) })
  await em.flush()
  await excludeOverridden(em, key)
  await logOverride(em, key, before?.variant_id ?? null, input.variant_id)
  await experimentChanged(em, experiment, { targeting: false })
  return em.refreshOrFail(override)
}

/**
 * Ends an override: the user gets the stored variant, or is drawn. The results of the run still leave the user out.
 * @throws DomainError NOT_FOUND if the user has no override
 */
export async function removeOverride(em: EntityManager, input: OverrideOf) {
  const experiment = await lockExperiment(em, input.experiment_id)
  const before = await em.findOne(Override, { ...input, removed_at: null })
  if (!before || !(await endOverride(em, input)))
    throw notFound('The override of user', `${input.user_id} in experiment ${input.experiment_id}`)
  await logOverride(em, input, before.variant_id, null)
  await experimentChanged(em, experiment, { targeting: false })
  return { message: 'Override removed successfully' }
}

/** @param before the forced variant; null without an override */
function logOverride(em: EntityManager, key: OverrideOf, before: number | null, after: number | null) {
  const values = (variant_id: number | null) => (variant_id === null ? null : { ...key, variant_id })
  const subject = { subject: 'overrides', subject_id: String(key.experiment_id) } satisfies Partial<UserChange>
  return logUserChanges(em, [{ ...subject, before: values(before), after: values(after) }])
}

/** Lists all overrides of an experiment by user id; there are at most 1000. */
export async function listOverrides(em: EntityManager, experimentId: number) {
  if ((await em.count(Experiment, { id: experimentId })) === 0) throw notFound('Experiment', experimentId)
  return em.find(Override, { experiment_id: experimentId, removed_at: null }, { orderBy: { user_id: 'asc' } })
}
