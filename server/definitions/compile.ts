import { LRUCache } from 'lru-cache'
import { type Condition, compileCondition, type Edition, type Rules } from '../evaluation/condition.ts'
import type { ExperimentDefinition, VariantDefinition } from '../evaluation/definition.ts'
import { profileReadsOf, type Targeting } from '../evaluation/targeting.ts'
import type { StoredExperiment, StoredSegment } from './stored.ts'

/** Is called for a stored rule that does not compile. Such a rule matches nobody, never everybody. */
export type OnBadRule = (where: string, error: unknown) => void

const NOBODY = compileCondition(null)
/** Matches nobody, like NOBODY. A rule that names a broken segment is broken too. */
const BROKEN: Condition = { ...NOBODY }
const EVERYBODY = compileCondition({})

/** The dimensions that every experiment has, besides those that it declares. */
export const COMMON_DIMENSIONS = ['country_code', 'is_premium', 'is_bot', 'is_internal']

/** Compiled rules by their JSON. Most rules of a new snapshot are the same as in the snapshot before. */
const compiled = new LRUCache<string, Condition>({
  maxSize: 20_000_000,
  sizeCalculation: (_, text) => text.length + 500,
})

/** Compiles a stored rule; null matches nobody. */
function compileStored(rules: Rules | null, edition: Edition, where: string, onBadRule: OnBadRule): Condition {
  if (rules === null) return NOBODY
  const text = `${edition}${JSON.stringify(rules)}`
  const known = compiled.get(text)
  if (known) return known
  try {
    const condition = compileCondition(rules, edition)
    compiled.set(text, condition)
    return condition
  } catch (error) {
    onBadRule(where, error)
    return BROKEN
  }
}

/** Compiles the rules of segments. Rules that name a missing or broken segment, at any depth, are broken too. */
export function compileSegments(segments: readonly StoredSegment[], onBadRule: OnBadRule): Map<number, Condition> {
  const compiledSegments = new Map<number, Condition>()
  for (const { id, rules, rules_edition = 1 } of segments)
    compiledSegments.set(id, compileStored(rules, rules_edition, `segment ${id}`, onBadRule))
  for (let found = true; found; ) {
    found = false
    for (const [id, condition] of compiledSegments) {
      const sound = soundOr(condition, compiledSegments, `segment ${id}`, onBadRule)
      if (sound === condition) continue
      compiledSegments.set(id, sound)
      found = true
    }
  }
  return compiledSegments
}

/**
 * Replaces a rule by BROKEN if it names a segment that is missing or broken. Otherwise a `$notInGroup` of that segment
 * would match everybody.
 */
function soundOr(
  condition: Condition,
  segments: ReadonlyMap<number, Condition>,
  where: string,
  onBadRule: OnBadRule,
): Condition {
  const bad = condition.segmentIds.find((id) => (segments.get(id) ?? BROKEN) === BROKEN)
  if (bad === undefined) return condition
  onBadRule(where, new Error(`Segment ${bad}, which the rule names, is missing or does not compile`))
  return BROKEN
}

/** The other definitions that compiling an experiment needs. */
export type Surroundings = {
  segments: ReadonlyMap<number, Condition>
  /** The ids of forced variants, by user id. */
  overrides: ReadonlyMap<string, number>
  /** The ids of the unfinished runs of the other experiments of the layer. */
  layerRunIds: readonly number[]
  holdout: ExperimentDefinition | null
  /** Gets the current run of a prerequisite, and the depth of the prerequisite; see `ExperimentDefinition.depth`. */
  prerequisite: (experimentId: number) => { runId: number | null; depth: number }
}

/** Compiles an experiment for decisions. A condition that does not compile matches nobody. */
export function compileExperiment(
  stored: StoredExperiment,
  surroundings: Surroundings,
  onBadRule: OnBadRule,
): ExperimentDefinition {
  const where = `experiment ${stored.id}`
  const { condition_edition = 1, segment_ids } = stored
  const written = { rules: stored.condition, edition: condition_edition }
  const targeting = compileTargeting(written, segment_ids, surroundings.segments, where, onBadRule)
  const { condition, segments, groups } = targeting
  const all = [condition, ...segments.map((segment) => segment.condition), ...groups.values()]
  const { holdout } = surroundings
  const needed = stored.prerequisites.map(({ experiment_id, variant_ids }) => {
    const { runId, depth } = surroundings.prerequisite(experiment_id)
    return { depth, compiled: { experimentId: experiment_id, runId, variantIds: new Set(variant_ids) } }
  })
  return {
    id: stored.id,
    key: stored.key,
    version: stored.version,
    kind: stored.kind,
    status: stored.status,
    autoStart: stored.auto_start,
    exposesOnCheck: stored.exposure === 'on_check',
    trafficPercent: stored.traffic_percent,
    shippedVariantId: stored.shipped_variant_id,
    run: stored.run && {
      id: stored.run.id,
      number: stored.run.number,
      period: stored.run.period,
      movableStart: stored.run.movable_start,
    },
    variants: compileVariants(stored),
    overrides: surroundings.overrides,
    layer:
      stored.layer_id === null
        ? null
        : { id: stored.layer_id, ranges: stored.layer_ranges, otherRunIds: surroundings.layerRunIds },
    holdout,
    prerequisites: needed.map(({ compiled }) => compiled),
    ...targeting,
    codeDefault: { key: stored.key, reason: 'SPLIT', value: undefined, rule: null, experiment: null },
    dimensions: [...COMMON_DIMENSIONS, ...(stored.dimensions ?? [])],
    profileReads: profileReadsOf([targeting]),
    leavesOut: stored.on_ineligible === 'leave_out',
    reads: [...new Set(all.flatMap((rule) => rule.reads))],
    readsSegments: [...new Set([...stored.segment_ids, ...groups.keys()])],
    depth: Math.max(holdout?.depth ?? -1, ...needed.map(({ depth }) => depth)) + 1,
  }
}

/**
 * Compiles a condition and segments. A null condition matches everybody; a condition that does not compile matches
 * nobody.
 * @param where names the owner of the condition for `onBadRule`, such as `experiment 3`
 */
export function compileTargeting(
  { rules, edition }: { rules: Rules | null; edition: Edition },
  segmentIds: readonly number[],
  known: ReadonlyMap<number, Condition>,
  where: string,
  onBadRule: OnBadRule,
): Targeting {
  const condition =
    rules === null ? EVERYBODY : soundOr(compileStored(rules, edition, where, onBadRule), known, where, onBadRule)
  const segments = segmentIds.map((id) => ({ id, condition: known.get(id) ?? NOBODY }))
  return { condition, segments, groups: reachable([condition, ...segments.map((segment) => segment.condition)], known) }
}

/** Compiles the variants of an experiment. In A/A mode every variant shows the name and payload of the control. */
export function compileVariants(stored: StoredExperiment): VariantDefinition[] {
  const control = stored.variants.find((variant) => variant.is_control)
  return stored.variants.map((variant) => {
    const shown = (stored.mode === 'aa' && control) || variant
    const answer = { variant_id: variant.id, variant_name: shown.name, payload: shown.payload }
    return {
      id: variant.id,
      name: variant.name,
      percentAllocated: variant.percent_allocated,
      enabled: variant.enabled,
      isControl: variant.is_control,
      answer,
      answerJson: JSON.stringify(answer),
      shownId: shown.id,
      asFlag: {
        key: stored.key,
        reason: 'SPLIT',
        value: shown.payload ?? nameAsValue(stored, shown.name),
        rule: null,
        experiment: { id: stored.id, runId: stored.run?.id ?? null, variantId: variant.id, variantName: shown.name },
      },
    }
  })
}

/**
 * Gives a variant without payload its name as its value, unless payloads have a type other than string. Older history
 * has no types.
 */
const nameAsValue = ({ payload_type }: StoredExperiment, name: string) =>
  payload_type == null || payload_type === 'string' ? name : undefined

/** Finds the segments that rules name, directly or through the rules of other segments. */
function reachable(rules: readonly Condition[], segments: ReadonlyMap<number, Condition>): Map<number, Condition> {
  const found = new Map<number, Condition>()
  const pending = rules.flatMap((rule) => rule.segmentIds)
  for (let id = pending.pop(); id !== undefined; id = pending.pop()) {
    if (found.has(id)) continue
    const condition = segments.get(id) ?? NOBODY
    found.set(id, condition)
    pending.push(...condition.segmentIds)
  }
  return found
}
