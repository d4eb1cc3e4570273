import { LRUCache } from 'lru-cache'
import { type Condition, compileCondition, type Rules } from '../evaluation/condition.ts'
import type { ExperimentDefinition, VariantDefinition } from '../evaluation/definition.ts'
import type { Targeting } from '../evaluation/targeting.ts'
import type { StoredExperiment, StoredSegment } from './stored.ts'

/** Notified of a stored rule that does not compile; it makes nobody eligible, never everybody. */
export type OnBadRule = (where: string, error: unknown) => void

const NOBODY = compileCondition(null)
/** Nobody either, and whoever names it is broken too. */
const BROKEN: Condition = { ...NOBODY }
const EVERYBODY = compileCondition({})

/** The dimensions of every experiment, beside those that it declares. */
export const COMMON_DIMENSIONS = ['country_code', 'is_premium', 'is_bot', 'is_internal']

/** Compiled rules by their JSON: most of a new snapshot's are those of the one before. */
const compiled = new LRUCache<string, Condition>({
  maxSize: 20_000_000,
  sizeCalculation: (_, text) => text.length + 500,
})

function compileStored(rules: Rules | null, where: string, onBadRule: OnBadRule): Condition {
  if (rules === null) return NOBODY
  const text = JSON.stringify(rules)
  const known = compiled.get(text)
  if (known) return known
  try {
    const condition = compileCondition(rules)
    compiled.set(text, condition)
    return condition
  } catch (error) {
    onBadRule(where, error)
    return BROKEN
  }
}

/** Compiled rules of segments; those that name a missing or broken one, however far down, are broken too. */
export function compileSegments(segments: readonly StoredSegment[], onBadRule: OnBadRule): Map<number, Condition> {
  const compiledSegments = new Map<number, Condition>()
  for (const { id, rules } of segments) compiledSegments.set(id, compileStored(rules, `segment ${id}`, onBadRule))
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
 * A rule that can be relied on: where it names a segment that is missing or does not compile, a `$notInGroup` would
 * otherwise let everybody in.
 */
function soundOr(
  condition: Condition,
  segments: ReadonlyMap<number, Condition>,
  where: string,
  onBadRule: OnBadRule,
): Condition {
  const bad = condition.segmentIds.find((id) => (segments.get(id) ?? BROKEN) === BROKEN)
  if (bad === undefined) return condition
  onBadRule(where, new Error(`It names segment ${bad}, which is missing or does not compile`))
  return BROKEN
}

/** The other definitions that compiling an experiment needs. */
export type Surroundings = {
  segments: ReadonlyMap<number, Condition>
  /** Forced variants, by user id. */
  overrides: ReadonlyMap<string, number>
  /** Unfinished runs of the other experiments of its layer. */
  layerRunIds: readonly number[]
  holdout: ExperimentDefinition | null
  /** An experiment that is a prerequisite: its current run, and how deep its own prerequisites go. */
  prerequisite: (experimentId: number) => { runId: number | null; depth: number }
}

export function compileExperiment(
  stored: StoredExperiment,
  surroundings: Surroundings,
  onBadRule: OnBadRule,
): ExperimentDefinition {
  const where = `experiment ${stored.id}`
  const targeting = compileTargeting(stored.condition, stored.segment_ids, surroundings.segments, where, onBadRule)
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
    leavesOut: stored.on_ineligible === 'leave_out',
    reads: [...new Set(all.flatMap((rule) => rule.reads))],
    readsSegments: [...new Set([...stored.segment_ids, ...groups.keys()])],
    depth: Math.max(holdout?.depth ?? -1, ...needed.map(({ depth }) => depth)) + 1,
  }
}

/** Compiles a condition and segments. No condition means everybody; a condition that does not compile is for nobody. */
export function compileTargeting(
  rules: Rules | null,
  segmentIds: readonly number[],
  known: ReadonlyMap<number, Condition>,
  where: string,
  onBadRule: OnBadRule,
): Targeting {
  const condition =
    rules === null ? EVERYBODY : soundOr(compileStored(rules, where, onBadRule), known, where, onBadRule)
  const segments = segmentIds.map((id) => ({ id, condition: known.get(id) ?? NOBODY }))
  return { condition, segments, groups: reachable([condition, ...segments.map((segment) => segment.condition)], known) }
}

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
 * Answers the name of a variant without payload as its value, unless payloads are of another type. Older history has no
 * types.
 */
const nameAsValue = ({ payload_type }: StoredExperiment, name: string) =>
  payload_type == null || payload_type === 'string' ? name : undefined

/** The segments that rules name, and those that theirs name. */
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
