import type { Watch } from '../definitions/watch.ts'
import { notFound, unavailable } from '../errors.ts'
import { pickAttributes } from '../evaluation/condition.ts'
import type { ExperimentDefinition, Subject, VariantDefinition } from '../evaluation/definition.ts'
import { type Decision, decideSettled, draw, isLeftOut, overrideOf, startsOnCheck } from '../evaluation/evaluate.ts'
import type { Starter } from '../experiments/starter.ts'
import type { ProfileCache, UserProfile } from '../users/profile-cache.ts'
import type { Json } from '../wire.ts'
import type { AssignmentMemory, Remembered, RememberedRuns } from './memory.ts'
import type { AssignmentWriter } from './writer.ts'

/** What deciding touches. */
export type Deciding = {
  readonly watch: Watch
  readonly profiles: ProfileCache
  readonly memory: AssignmentMemory
  readonly writer: AssignmentWriter
  readonly starter: Starter
}

/** Who asks for what; `preview` stores nothing, exposes nobody and starts nothing. */
export type Check = {
  user_id: string
  experiment_ids: readonly number[]
  attributes?: Record<string, Json> | null | undefined
  expose?: boolean | null | undefined
  preview?: boolean | null | undefined
  /** false: starts no draft, and answers none but by an override. */
  starts?: boolean
}

/** `fenced`: a row that was stored under the fence, or an explicit act (an override, a shipped variant), says so. */
export type Answer = {
  experiment: ExperimentDefinition
  variant: VariantDefinition
  assignedAt: number | null
  fenced: boolean
}

/** How often a decision is made again because definitions moved under it. */
const MAX_ATTEMPTS = 25

export const storedIn = (experiment: ExperimentDefinition, runs: RememberedRuns | undefined): Remembered | undefined =>
  experiment.run ? runs?.get(experiment.run.id) : undefined

/** Whether only the database can tell what becomes of a user of whom nothing is remembered there. */
const dependsOnStored = ({ status, layer, holdout, prerequisites }: ExperimentDefinition) =>
  status === 'running' ||
  status === 'paused' ||
  (status === 'draft' && (layer !== null || holdout !== null || prerequisites.length > 0))

/** Whether this answer must be preceded by storing that the user met the variant. */
export const mustExpose = (experiment: ExperimentDefinition, stored: Remembered | undefined, check: Check) =>
  stored !== undefined && !stored.exposed && experiment.exposesOnCheck && check.expose !== false && !check.preview

const assignedAt = (decision: Decision, stored: Remembered | undefined) =>
  decision.outcome === 'stored' && stored ? stored.assignedAt : null

export const subjectOf = (person: UserProfile, check: Check, runs: RememberedRuns): Subject => ({
  userId: person.ownerId,
  askedId: check.user_id,
  // Rules ask for `id` to name a user, which no call can pretend to be.
  attributes: check.attributes ? { ...person.attributes, ...check.attributes, id: person.ownerId } : person.attributes,
  segmentIds: person.segmentIds,
  runs,
})

/**
 * Decides, and stores what is new before it is answered; whoever is first wins.
 * @param actor who is named in the audit log where the check starts a draft
 * @throws DomainError NOT_FOUND for a user of whom nothing is known, unless the call carries attributes
 */
export async function decide(deciding: Deciding, actor: string, check: Check): Promise<Answer[]> {
  const { watch, profiles, memory } = deciding
  const ids = [...new Set(check.experiment_ids)]
  if (ids.some((id) => id > watch.snapshot().highestId)) await watch.refresh()

  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const profilesVersion = watch.seenVersion(check.user_id)
    const person = await profiles.read(check.user_id)
    if (!person.known && !check.attributes) throw notFound('User', check.user_id)
    const { experiments } = watch.snapshot()
    const wanted = ids.flatMap((id) => experiments.get(id) ?? [])
    const starting = check.preview || check.starts === false ? [] : startedBy(wanted, check.user_id)
    if (starting.length > 0) {
      await Promise.all(starting.map((experiment) => deciding.starter(actor, experiment.id, 'check')))
      continue
    }
    let runs = memory.peek(check.user_id)
    const mustDraw = wanted.some((experiment) => dependsOnStored(experiment) && !storedIn(experiment, runs))
    if (mustDraw) runs = await memory.load(check.user_id)
    // Whoever is drawn is the owner: what the owner is in counts then, before what the alias was given on its own.
    const isAlias = person.ownerId !== check.user_id
    const owned = isAlias && mustDraw ? await memory.load(person.ownerId) : undefined
    const request = { check, person, profilesVersion, owned }
    const { answers, moved } = await decideAll(deciding, request, wanted, runs ?? new Map())
    if (answers.length === wanted.length && answers.every((answer) => answer.fenced)) return answers
    // What is not backed by a stored row holds only if the snapshot was current during this request.
    const { experiments: now } = await watch.refresh()
    const current = (experiment: ExperimentDefinition) => now.get(experiment.id)?.version === experiment.version
    if (!moved && wanted.every(current)) return answers
  }
  throw unavailable('The experiments are being changed too quickly to decide; try again soon')
}

/** The drafts that a check starts: those asked for, unless a variant is forced on the user, and their holdouts. */
function startedBy(wanted: readonly ExperimentDefinition[], userId: string): ExperimentDefinition[] {
  const undecided = wanted.filter((experiment) => !overrideOf(experiment, userId))
  const drawing = undecided.filter((experiment) => experiment.status === 'running' || startsOnCheck(experiment))
  const holdouts = drawing.flatMap(({ holdout }) => holdout ?? [])
  return [...new Set([...undecided, ...holdouts])].filter(startsOnCheck)
}

/** `owned`: where an alias has to be drawn, what is stored of its owner. */
type Request = { check: Check; person: UserProfile; profilesVersion: number; owned: RememberedRuns | undefined }

/**
 * Decides experiment by experiment, together as far as they do not depend on one another: the holdouts of those that
 * have to be drawn first, then by depth, so that a prerequisite stored in this call counts in this call.
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
    const subject = subjectOf(request.person, request.check, present)
    const outcomes = await Promise.all(
      level.map((experiment) =>
        decideOne(deciding, request, experiment, subject, storedIn(experiment, asked.has(experiment) ? runs : present)),
      ),
    )
    for (const outcome of outcomes) {
      if (outcome === 'moved') moved = true
      else if (outcome) {
        const { answer, stored } = outcome
        if (stored && answer.experiment.run) runs.set(answer.experiment.run.id, stored)
        if (asked.has(answer.experiment)) answers.push(answer)
      }
    }
    if (moved) break
  }
  return { answers, moved }
}

/** Those asked for, and the holdouts that must be decided before anybody is drawn. */
function withHoldouts(wanted: readonly ExperimentDefinition[], runs: RememberedRuns): Iterable<ExperimentDefinition> {
  if (!wanted.some((experiment) => experiment.holdout)) return wanted
  const all = new Set(wanted)
  for (const experiment of wanted)
    if (experiment.holdout?.status === 'running' && experiment.status === 'running' && !storedIn(experiment, runs))
      all.add(experiment.holdout)
  return all
}

async function decideOne(
  { writer, memory }: Deciding,
  { check, profilesVersion }: Request,
  experiment: ExperimentDefinition,
  subject: Subject,
  stored: Remembered | undefined,
): Promise<{ answer: Answer; stored: Remembered | undefined } | null | 'moved'> {
  let decision = decideSettled(experiment, check.user_id, stored) ?? draw(experiment, subject)
  if (decision.outcome === 'stored' && isLeftOut(experiment, subject)) return null
  if (decision.outcome === 'left out') return null
  if (decision.outcome === 'preview' && check.starts === false) return null
  if (decision.outcome === 'drawn' && experiment.run && !check.preview) {
    const result = await writer.store({
      run_id: experiment.run.id,
      user_id: subject.userId,
      variant_id: decision.variant.id,
      period: experiment.run.period,
      experiment_id: experiment.id,
      definition_version: experiment.version,
      ...readBy(experiment, subject),
      dimensions: dimensionsOf(experiment, subject),
      // A holdout is met at the first decision under it, whoever shows what later.
      expose: experiment.kind === 'holdout' || (experiment.exposesOnCheck && check.expose !== false),
      profiles_version: profilesVersion,
      asked_id: check.user_id,
    })
    if (result === 'moved') return 'moved'
    stored = subject.userId === check.user_id ? result : { ...result, holderId: subject.userId }
    if (stored !== result) memory.rememberOf(check.user_id, experiment.run.id, stored, profilesVersion)
    decision = decideSettled(experiment, check.user_id, stored) ?? decision
    if (decision.outcome === 'left out') return null
  }
  if (decision.outcome === 'stored' && stored && experiment.run && mustExpose(experiment, stored, check)) {
    await writer.expose({ run_id: experiment.run.id, user_id: stored.holderId ?? check.user_id })
    stored = { ...stored, exposed: true }
    if (stored.holderId !== undefined) memory.rememberOf(check.user_id, experiment.run.id, stored, profilesVersion)
  }
  const fenced = decision.outcome !== 'preview' && decision.outcome !== 'drawn'
  return {
    answer: { experiment, variant: decision.variant, assignedAt: assignedAt(decision, stored), fenced },
    stored: decision.outcome === 'stored' ? stored : previewed(decision),
  }
}

/** What a preview would have stored: it counts for what depends on it in the same call. */
const previewed = (decision: Decision): Remembered | undefined =>
  decision.outcome === 'drawn' ? { variantId: decision.variant.id, exposed: false, assignedAt: 0 } : undefined

/** What results are broken down by, as it is at the decision. */
function dimensionsOf({ dimensions }: ExperimentDefinition, { attributes }: Subject) {
  const values = attributes as Record<string, Json>
  return Object.fromEntries(
    dimensions.flatMap((name) => (Object.hasOwn(values, name) ? [[name, values[name] as Json]] : [])),
  )
}

/** What targeting read, kept with the decision so that it can be explained later. */
function readBy({ reads, readsSegments }: ExperimentDefinition, { attributes, segmentIds }: Subject) {
  const read = readsSegments.filter((id) => segmentIds.has(id))
  return {
    attributes: reads.length === 0 ? null : (pickAttributes(attributes, reads) as Record<string, Json>),
    segment_ids: readsSegments.length === 0 ? null : read,
  }
}
