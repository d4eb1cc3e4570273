import type { Condition } from '../evaluation/condition.ts'
import type { ExperimentDefinition } from '../evaluation/definition.ts'
import type { FlagAnswer, FlagDefinition, FlagReason, FlagRule, Serve } from '../evaluation/flag.ts'
import { profileReadsOf } from '../evaluation/targeting.ts'
import { compileTargeting, type OnBadRule } from './compile.ts'
import type { StoredFlag, StoredFlagRule } from './stored.ts'

/** The other definitions that compiling a flag needs. */
type Surroundings = {
  segments: ReadonlyMap<number, Condition>
  experiments: ReadonlyMap<number, Pick<ExperimentDefinition, 'variants'>>
}

/** Compiles a flag for evaluation. A rule that does not compile matches nobody. */
export function compileFlag(stored: StoredFlag, surroundings: Surroundings, onBadRule: OnBadRule): FlagDefinition {
  const { key, version, type, enabled, default_value } = stored
  if (!enabled) {
    const fallback = answerOf(key, 'DISABLED', undefined, null)
    return { key, version, type, fallback, beyondShares: fallback, rules: [], profileReads: profileReadsOf([]) }
  }
  const rules = stored.rules.map((rule): FlagRule => {
    const where = `flag ${key}, rule ${rule.id}`
    return {
      ...compileTargeting(
        { rules: rule.condition, edition: rule.edition ?? 1 },
        rule.segment_ids,
        surroundings.segments,
        where,
        onBadRule,
      ),
      id: rule.id,
      from: rule.from === null ? Number.NEGATIVE_INFINITY : Date.parse(rule.from),
      until: rule.until === null ? Number.POSITIVE_INFINITY : Date.parse(rule.until),
      serve: serveOf(stored, rule, surroundings),
    }
  })
  return {
    key,
    version,
    type,
    fallback: answerOf(key, 'STATIC', default_value, null),
    beyondShares: answerOf(key, 'SPLIT', default_value, null),
    rules,
    profileReads: profileReadsOf(rules),
  }
}

const answerOf = (key: string, reason: FlagReason, value: unknown, rule: string | null): FlagAnswer => ({
  key,
  reason,
  value,
  rule,
  experiment: null,
})

/** Compiles what a rule gives to the users whom it matches: one value, a rollout, or the values of variants. */
function serveOf({ key, default_value }: StoredFlag, rule: StoredFlagRule, { experiments }: Surroundings): Serve {
  const { id, value, rollout, experiment } = rule
  if (rollout) {
    const shares = rollout.map((share) => ({
      percentAllocated: share.percent,
      answer: answerOf(key, 'SPLIT', share.value, id),
    }))
    return { kind: 'rollout', shares }
  }
  if (!experiment) return { kind: 'value', answer: answerOf(key, 'TARGETING_MATCH', value, id) }
  const values = new Map(experiment.values.map((item) => [item.variant_id, item.value]))
  const variants = experiments.get(experiment.experiment_id)?.variants ?? []
  const answers = variants.map((variant): [number, FlagAnswer] => {
    const given = values.has(variant.shownId) ? values.get(variant.shownId) : default_value
    return [variant.id, { ...answerOf(key, 'SPLIT', given, id), experiment: variant.asFlag.experiment }]
  })
  return { kind: 'experiment', experimentId: experiment.experiment_id, answers: new Map(answers) }
}
