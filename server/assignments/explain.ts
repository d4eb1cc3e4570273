import type { EntityManager } from '@mikro-orm/sql'
import { compileExperiment, compileSegments, type OnBadRule } from '../definitions/compile.ts'
import { type HistoryRow, readClock, readHistoryAt, readHistoryVersion } from '../definitions/queries.ts'
import { invalid, notFound } from '../errors.ts'
import { mergeAttributes } from '../evaluation/condition.ts'
import type { ExperimentDefinition, StoredVariant, Subject } from '../evaluation/definition.ts'
import { type Explanation, explain, explainDraw } from '../evaluation/explain.ts'
import type { ProfileCache } from '../users/profile-cache.ts'
import { type ExplainedAssignment, readActsAt, readAssignmentsUntil, readOriginal, readRunsAt } from './queries.ts'
import type { ExplainDecision, ExplanationOutput } from './schema.ts'

/** How far the caller's clock may be ahead of the database's. */
const AHEAD_MS = 1000

/**
 * Explains step by step the answer of a check at a time, by the definition of that time and the current profile. For an
 * assigned user, also explains the draw, by the definition and the attribute values of the draw. The explanation stores
 * nothing, and decides by the same functions as a check.
 * @throws DomainError NOT_FOUND if there was no such experiment at the time, BAD_REQUEST for a time in the future
 */
export async function explainDecision(
  em: EntityManager,
  profiles: ProfileCache,
  input: ExplainDecision,
): Promise<ExplanationOutput> {
  const now = (await readClock(em)).getTime()
  if (input.at && input.at.getTime() > now + AHEAD_MS)
    throw invalid(`${input.at.toISOString()} is in the future: give a time up to now`, 'at')
  const at = Math.min(input.at?.getTime() ?? now, now)
  const [inForce] = await readHistoryAt(em, [input.experiment_id], at)
  if (!inForce) throw notFound('Experiment', `${input.experiment_id}${input.at ? ' at that time' : ''}`)
  const profile = await profiles.read(input.user_id)
  const acts = await readActsAt(em, input.user_id, input.experiment_id, at)
  const ids = acts.owner_id === null ? [input.user_id] : [acts.owner_id, input.user_id]
  const rows = await readAssignmentsUntil(em, ids, at)
  const stored = storedByRun(rows, input.user_id)
  const userId = acts.owner_id ?? input.user_id

  const warnings: string[] = []
  const forced = forcedOn(input.user_id, acts.forced_variant_id)
  const experiment = await compileAt(em, inForce, { at, askedId: input.user_id, rows, forced }, (where, error) => {
    warnings.push(`The rule of ${where} does not compile, so it matches nobody: ${(error as Error).message}`)
  })
  const assignment = experiment.run ? stored.get(experiment.run.id) : undefined
  const subject: Subject = {
    userId,
    askedId: input.user_id,
    attributes: { ...mergeAttributes(profile.attributes, input.attributes ?? {}), id: userId },
    segmentIds: profile.segmentIds,
    at,
    // An alias gets its own assignment first. A draw uses the assignments of the owner.
    runs: variantsOf(storedByRun(rows, userId)),
  }
  const { decision, steps } = explain(experiment, input.user_id, assignment && variantOf(assignment), subject)
  if (!profile.known && !input.attributes) warnings.push('This user is unknown: a check without attributes answers 404')
  if (inForce.definition.mode === 'aa')
    warnings.push('In A/A mode everybody is shown the control, whatever the variant')
  const drawn = assignment ? await explainAssignment(em, assignment) : null
  const variant = decision.outcome === 'left out' ? null : decision.variant
  return {
    experiment_id: experiment.id,
    user_id: input.user_id,
    decided_as: userId,
    at: new Date(at),
    definition: { version: inForce.version, from: new Date(inForce.from) },
    profile: input.attributes ? 'current, with the attributes given' : 'current',
    outcome: decision.outcome,
    reason: decision.outcome === 'left out' ? decision.reason : null,
    variant_id: variant?.id ?? null,
    variant_name: variant?.answer.variant_name ?? null,
    steps: steps as ExplanationOutput['steps'],
    warnings,
    assignment: assignment ? shown(assignment) : null,
    drawn,
  }
}

/** Reads the owner of an id at a time; the id itself if it was not an alias. @param at milliseconds since 1970, UTC */
export const ownerAt = async (em: EntityManager, userId: string, at: number): Promise<string> =>
  (await readActsAt(em, userId, NO_EXPERIMENT, at)).owner_id ?? userId

const NO_EXPERIMENT = 0
const nothingForced: ReadonlyMap<string, number> = new Map()
const forcedOn = (userId: string, variantId: number | null) =>
  variantId === null ? nothingForced : new Map([[userId, variantId]])

/** Maps assignments by run id. An assignment of this id takes precedence over one of its owner or alias. */
function storedByRun(rows: readonly ExplainedAssignment[], userId: string): Map<number, ExplainedAssignment> {
  const stored = new Map<number, ExplainedAssignment>()
  for (const row of rows) if (row.holder_id === userId || !stored.has(row.run_id)) stored.set(row.run_id, row)
  return stored
}

const variantOf = (row: ExplainedAssignment): StoredVariant => ({ variantId: row.variant_id })
const variantsOf = (stored: ReadonlyMap<number, ExplainedAssignment>): Map<number, StoredVariant> =>
  new Map([...stored].map(([runId, row]) => [runId, variantOf(row)]))

/**
 * Explains how an assigned user was drawn, by the definition, the attribute values and the other assignments of that
 * moment. If a login copied the assignment, explains how the alias was drawn.
 * @returns null if nobody was drawn, as by an event, or if the history does not reach back
 */
async function explainAssignment(em: EntityManager, stored: ExplainedAssignment): Promise<ExplanationOutput['drawn']> {
  const assignment = stored.source === 'alias' ? await readOriginal(em, stored) : stored
  if (assignment?.source !== 'hash') return null
  const version = await readHistoryVersion(em, assignment.experiment_id, assignment.definition_version)
  if (!version) return null
  const { assigned_at: at, holder_id: userId } = assignment
  const rows = (await readAssignmentsUntil(em, [userId], at)).filter((row) => row.run_id !== assignment.run_id)
  const experiment = await compileAt(em, version, { at, askedId: userId, rows, forced: nothingForced }, () => {})
  const { decision, steps }: Explanation = explainDraw(experiment, {
    userId,
    askedId: userId,
    attributes: assignment.attributes ?? {},
    segmentIds: new Set(assignment.segment_ids ?? []),
    at,
    runs: variantsOf(storedByRun(rows, userId)),
  })
  return {
    decided_as: userId,
    definition: { version: version.version, from: new Date(version.from) },
    attributes: assignment.attributes ?? {},
    segment_ids: assignment.segment_ids ?? [],
    variant_id: decision.outcome === 'left out' ? null : decision.variant.id,
    steps: steps as ExplanationOutput['steps'],
  }
}

/**
 * The circumstances of a decision: its time in milliseconds since 1970, the id that asked, the user's assignments, and
 * the variants that are forced on the user.
 */
type Moment = {
  at: number
  askedId: string
  rows: readonly ExplainedAssignment[]
  forced: ReadonlyMap<string, number>
}

/** Compiles a definition from the history with the circumstances of a moment. */
async function compileAt(
  em: EntityManager,
  { definition }: HistoryRow,
  moment: Moment,
  onBadRule: OnBadRule,
): Promise<ExperimentDefinition> {
  const { at, rows } = moment
  const needed = definition.prerequisites.map((prerequisite) => prerequisite.experiment_id)
  const runs = await readRunsAt(em, needed, at)
  return compileExperiment(
    definition,
    {
      segments: compileSegments(definition.segments, onBadRule),
      overrides: moment.forced,
      layerRunIds: definition.layer_id === null ? [] : await layerRunsAt(em, definition, at, rows),
      holdout: definition.holdout_id === null ? null : await holdoutAt(em, definition.holdout_id, moment, onBadRule),
      prerequisite: (experimentId) => ({ runId: runs.get(experimentId) ?? null, depth: 0 }),
    },
    onBadRule,
  )
}

/** Compiles a holdout as it was at a moment; null if it did not exist yet. */
async function holdoutAt(em: EntityManager, holdoutId: number, moment: Moment, onBadRule: OnBadRule) {
  const [holdout] = await readHistoryAt(em, [holdoutId], moment.at)
  if (!holdout) return null
  const { forced_variant_id } = await readActsAt(em, moment.askedId, holdoutId, moment.at)
  return compileAt(em, holdout, { ...moment, forced: forcedOn(moment.askedId, forced_variant_id) }, onBadRule)
}

/** Lists the ids of the user's runs that were unfinished and in the same layer at a time. */
async function layerRunsAt(
  em: EntityManager,
  { id, layer_id }: HistoryRow['definition'],
  at: number,
  rows: readonly ExplainedAssignment[],
): Promise<number[]> {
  const others = rows.filter((row) => row.experiment_id !== id && (row.run_ended_at === null || row.run_ended_at > at))
  const definitions = await readHistoryAt(em, [...new Set(others.map((row) => row.experiment_id))], at)
  const inLayer = new Set(
    definitions.flatMap((row) => (row.definition.layer_id === layer_id ? [row.experiment_id] : [])),
  )
  return others.filter((row) => inLayer.has(row.experiment_id)).map((row) => row.run_id)
}

const asTime = (milliseconds: number | null) => (milliseconds === null ? null : new Date(milliseconds))

const shown = (row: ExplainedAssignment) => ({
  run: row.run_number,
  period: row.period,
  variant_id: row.variant_id,
  source: row.source,
  assigned_at: new Date(row.assigned_at),
  exposed_at: asTime(row.exposed_at),
  definition_version: row.definition_version,
})
