import type { Watch } from '../definitions/watch.ts'
import { unavailable, unknownUser } from '../errors.ts'
import { pickAttributes } from '../evaluation/condition.ts'
import type { ExperimentDefinition, Subject, VariantDefinition } from '../evaluation/definition.ts'
import { type Decision, draw, overrideOf, startsOnCheck } from '../evaluation/evaluate.ts'
import type { Starter } from '../experiments/starter.ts'
import type { ProfileCache, UserProfile } from '../users/profile-cache.ts'
import type { Json } from '../wire.ts'
import type { AssignmentMemory, Remembered, RememberedRuns } from './memory.ts'
import { type Answer, type Check, mustExpose, settleStored, storedIn, subjectOf } from './settle.ts'
import type { AssignmentWriter } from './writer.ts'

/** The parts of the process that deciding touches. */
export type Deciding = {
  readonly watch: Watch
  readonly profiles: ProfileCache
  readonly memory: AssignmentMemory
  readonly writer: AssignmentWriter
  readonly starter: Starter
}

/** How many attempts one call makes. An attempt fails if definitions change during the decision. */
const MAX_ATTEMPTS = 25

/** Tells whether the decision depends on stored assignments, so that a user who is not remembered must be looked up. */
const dependsOnStored = ({ status, layer, holdout, prerequisites }: ExperimentDefinition) =>
  status === 'running' ||
  status === 'paused' ||
  (status === 'draft' && (layer !== null || holdout !== null || prerequisites.length > 0))

/**
 * Decides a check. New decisions are stored before they are returned, and the first stored decision wins. A user who is
 * presumably new is looked up only if the presumption turns out wrong, or if no decision is stored that verifies it.
 * @param actor the name in the audit log if the check starts a draft
 * @throws DomainError NOT_FOUND for an unknown user, unless the call carries attributes; SERVICE_UNAVAILABLE if the
 * definitions keep changing during the call
 */
export async function decide(deciding: Deciding, actor: string, check: Check): Promise<Answer[]> {
  const { watch, profiles, memory } = deciding
  const ids = [...new Set(check.experiment_ids)]
  if (ids.some((id) => id > watch.snapshot().highestId)) await watch.refresh()

  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const profilesVersion = watch.seenVersion(check.user_id)
    const presumed = attempt === 1 && isPresumablyNew(deciding, check)
    const profile = presumed ? newProfile(check.user_id) : await profiles.read(check.user_id)
    if (!profile.known && !check.attributes) throw unknownUser(check.user_id)
    const { experiments } = watch.snapshot()
    const wanted = ids.flatMap((id) => experiments.get(id) ?? [])
    const starting = check.preview || check.starts === false ? [] : startedBy(wanted, check.user_id)
    if (starting.length > 0) {
      await Promise.all(starting.map((experiment) => deciding.starter(actor, experiment.id, 'check')))
      continue
    }
    let runs = memory.peek(check.user_id)
    const mustDraw = wanted.some((experiment) => dependsOnStored(experiment) && !storedIn(experiment, runs))
    // Nothing is stored in any run for a user under whose id nothing is stored at all.
    if (mustDraw && profile.known) runs = await memory.load(check.user_id)
    // An alias draws as its owner. The owner's assignments then take precedence over the alias's own assignments.
    const isAlias = profile.ownerId !== check.user_id
    const owned = isAlias && mustDraw ? await memory.load(profile.ownerId) : undefined
    const request = { check, profile, profilesVersion, owned, presumed }
    const { answers, moved } = await decideAll(deciding, request, wanted, runs ?? new Map())
    if (request.presumed) continue
    if (presumed) profiles.noteNew(check.user_id, profilesVersion)
    if (answers.length === wanted.length && answers.every((answer) => answer.fenced)) return answers
    // An answer without a stored row holds only if the snapshot was current during this request.
    const { experiments: now } = await watch.refresh()
    const current = (experiment: ExperimentDefinition) => now.get(experiment.id)?.version === experiment.version
    if (!moved && wanted.every(current)) return answers
  }
  throw unavailable('Definitions changed too often during this decision; try again soon')
}

/**
 * Tells whether to decide without a look-up of the user: a check with attributes, for a user of whom this process knows
 * nothing. Most such users are new, and storing the decision verifies it in the same statement.
 */
const isPresumablyNew = ({ profiles, memory }: Deciding, { user_id, attributes, preview }: Check) =>
  attributes != null &&
  !preview &&
  memory.peek(user_id) === undefined &&
  profiles.peek(user_id) === undefined &&
  (profiles.peekIds(user_id)?.ownerId ?? user_id) === user_id &&
  !profiles.isKnown(user_id)

/** Makes the profile of a user under whose id nothing is stored. */
const newProfile = (userId: string): UserProfile => ({
  known: false,
  ownerId: userId,
  drawId: userId,
  attributes: { id: userId },
  segmentIds: new Set(),
})

/**
 * Lists the drafts that a check starts: the experiments of the check and their holdouts. An experiment that forces a
 * variant on the user is not started.
 */
function startedBy(wanted: readonly ExperimentDefinition[], userId: string): ExperimentDefinition[] {
  const undecided = wanted.filter((experiment) => !overrideOf(experiment, userId))
  const drawing = undecided.filter((experiment) => experiment.status === 'running' || startsOnCheck(experiment))
  const holdouts = drawing.flatMap(({ holdout }) => holdout ?? [])
  return [...new Set([...undecided, ...holdouts])].filter(startsOnCheck)
}

/** One check with the user's profile. */
type Request = {
  readonly check: Check
  readonly profile: UserProfile
  readonly profilesVersion: number
  /** The owner's assignments if an alias has to be drawn. */
  readonly owned: RememberedRuns | undefined
  /** True while the user is presumed to be new, which no stored decision has verified yet. */
  presumed: boolean
}

/**
 * Decides the experiments of a check by ascending depth: first the holdouts of experiments that have to be drawn, then
 * prerequisites before the experiments that need them. An assignment that is stored at one depth counts at the next.
 * Experiments of one depth are decided together.
 * @returns `moved`: whether an experiment or the user changed, so that the check has to be decided again
 */
async function decideAll(
  deciding: Deciding,
  request: Request,
  wanted: readonly ExperimentDefinition[],
  known: RememberedRuns,
): Promise<{ answers: Answer[]; moved: boolean }> {
  const runs = new Map(known)
  const asked = new Set(wanted)
  const levels = new Map<number, ExperimentDefinition[]>()
  for (const experiment of request.check.preview ? wanted : withHoldouts(wanted, runs)) {
    const level = levels.get(experiment.depth)
    if (level) level.push(experiment)
    else levels.set(experiment.depth, [experiment])
  }
  const answers: Answer[] = []
  let moved = false
  for (const [, level] of [...levels].sort(([a], [b]) => a - b)) {
    const present: RememberedRuns = request.owned ? new Map([...runs, ...request.owned]) : runs
    const subject = subjectOf(request.profile, request.check, present)
    const outcomes = await Promise.all(
      level.map((experiment) =>
        decideOne(deciding, request, experiment, subject, storedIn(experiment, asked.has(experiment) ? runs : present)),
      ),
    )
    for (const settled of outcomes) {
      if (settled === null) continue
      if (settled === 'moved') {
        moved = true
        continue
      }
      const { experiment } = settled
      const counted = settled.stored ?? previewed(settled)
      if (counted && experiment.run) runs.set(experiment.run.id, counted)
      if (asked.has(experiment)) answers.push(answerOf(settled))
    }
    if (moved) break
  }
  return { answers, moved }
}

/** Adds the holdouts that must be decided before the user is drawn. */
function withHoldouts(wanted: readonly ExperimentDefinition[], runs: RememberedRuns): Iterable<ExperimentDefinition> {
  if (!wanted.some((experiment) => experiment.holdout)) return wanted
  const all = new Set(wanted)
  for (const experiment of wanted)
    if (experiment.holdout?.status === 'running' && experiment.status === 'running' && !storedIn(experiment, runs))
      all.add(experiment.holdout)
  return all
}

/** The user's variant in one experiment. `stored` is the assignment if the outcome is 'stored'. */
type Settled = {
  readonly experiment: ExperimentDefinition
  readonly outcome: Exclude<Decision['outcome'], 'left out'>
  readonly variant: VariantDefinition
  readonly stored: Remembered | undefined
}

/**
 * Decides one experiment in three steps: settle, store, expose.
 * @param stored the user's remembered assignment in the current run
 * @returns null if the user gets no variant, 'moved' if the decision has to be made again
 */
async function decideOne(
  deciding: Deciding,
  request: Request,
  experiment: ExperimentDefinition,
  subject: Subject,
  stored: Remembered | undefined,
): Promise<Settled | null | 'moved'> {
  const settled = settle(request.check, experiment, subject, stored)
  if (settled === null) return null
  const kept = await store(deciding, request, subject, settled)
  if (kept === null || kept === 'moved') return kept
  return expose(deciding, request, kept)
}

/** Decides by the stored assignment, or draws. @returns null if the user gets no variant */
function settle(
  check: Check,
  experiment: ExperimentDefinition,
  subject: Subject,
  stored: Remembered | undefined,
): Settled | null {
  const decision = settleStored(experiment, check, stored, subject) ?? draw(experiment, subject)
  if (decision.outcome === 'left out') return null
  if (decision.outcome === 'preview' && check.starts === false) return null
  const { outcome, variant } = decision
  return { experiment, outcome, variant, stored: outcome === 'stored' ? stored : undefined }
}

/**
 * Stores a drawn variant, unless the experiment or the user changed since the draw. A variant that was not drawn, or
 * was drawn for a preview, is returned unchanged.
 * @returns the stored variant, which is another one if a concurrent call was first
 */
async function store(
  { writer, memory }: Deciding,
  request: Request,
  subject: Subject,
  settled: Settled,
): Promise<Settled | null | 'moved'> {
  const { check, profilesVersion } = request
  const { experiment, outcome, variant } = settled
  if (outcome !== 'drawn' || !experiment.run || check.preview) return settled
  const row = await writer.store({
    run_id: experiment.run.id,
    user_id: subject.userId,
    variant_id: variant.id,
    period: experiment.run.period,
    experiment_id: experiment.id,
    definition_version: experiment.version,
    ...readBy(experiment, subject),
    dimensions: dimensionsOf(experiment, subject),
    // A holdout exposes the user at the first decision under it, whichever application shows a variant later.
    expose: experiment.kind === 'holdout' || (experiment.exposesOnCheck && check.expose !== false),
    profiles_version: profilesVersion,
    asked_id: check.user_id,
    presumes_new: request.presumed,
  })
  if (row === 'moved') return 'moved'
  request.presumed = false
  if (subject.userId === check.user_id) return settle(check, experiment, subject, row)
  const owned = { ...row, holderId: subject.userId }
  memory.rememberOf(check.user_id, experiment.run.id, owned, profilesVersion)
  return settle(check, experiment, subject, owned)
}

/** Stores the exposure if this check exposes the user for the first time. */
async function expose(
  { writer, memory }: Deciding,
  { check, profilesVersion }: Request,
  settled: Settled,
): Promise<Settled> {
  const { experiment, stored } = settled
  if (!stored || !experiment.run || !mustExpose(experiment, stored, check)) return settled
  const exposed = { ...stored, exposed: true }
  await writer.expose({ run_id: experiment.run.id, user_id: stored.holderId ?? check.user_id })
  // The writer remembers the row under the owner's id only, so the row is remembered for the alias here.
  if (stored.holderId !== undefined) memory.rememberOf(check.user_id, experiment.run.id, exposed, profilesVersion)
  return { ...settled, stored: exposed }
}

/** Makes the assignment that a preview would have stored. It counts for dependent experiments in the same call. */
const previewed = ({ outcome, variant }: Settled): Remembered | undefined =>
  outcome === 'drawn' ? { variantId: variant.id, exposed: false, assignedAt: 0 } : undefined

const answerOf = ({ experiment, outcome, variant, stored }: Settled): Answer => ({
  experiment,
  variant,
  assignedAt: stored?.assignedAt ?? null,
  fenced: outcome !== 'preview' && outcome !== 'drawn',
})

/** Picks the attributes that results are broken down by, with their values at the decision. */
function dimensionsOf({ dimensions }: ExperimentDefinition, { attributes }: Subject) {
  const values = attributes as Record<string, Json>
  return Object.fromEntries(
    dimensions.flatMap((name) => (Object.hasOwn(values, name) ? [[name, values[name] as Json]] : [])),
  )
}

/** Picks the attributes and segments that targeting read. They are stored with the decision, to explain it later. */
function readBy({ reads, readsSegments }: ExperimentDefinition, { attributes, segmentIds }: Subject) {
  const read = readsSegments.filter((id) => segmentIds.has(id))
  return {
    attributes: reads.length === 0 ? null : (pickAttributes(attributes, reads) as Record<string, Json>),
    segment_ids: readsSegments.length === 0 ? null : read,
  }
}
