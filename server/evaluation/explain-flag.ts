import { type ExplainedClause, explainClauses, explainSegments, type Step } from './explain.ts'
import {
  answerOf,
  type FlagAnswer,
  type FlagDefinition,
  type FlagRule,
  type FlagSubject,
  isInForce,
  rolloutPosition,
  type VariantIn,
} from './flag.ts'
import { isInSegment, meetsCondition } from './targeting.ts'

/** One rule of a flag and its outcome. The last step has no rule if the flag's default answers. */
type FlagStep = {
  rule: string | null
  outcome: 'passed over' | 'answered'
  detail: string
  /** The user's position in [0, 100) of a rollout's draw. */
  position?: number
  /** The positions, in per cent, of each value of a rollout: from inclusive, to exclusive. */
  ranges?: { from: number; to: number; value: unknown }[]
  clauses?: ExplainedClause[]
  segments?: { segment_id: number; member: boolean; holds: boolean }[]
  /** The experiment that decides, if the rule reads one. */
  experiment_id?: number
}

type FlagExplanation = {
  answer: FlagAnswer | 'user'
  steps: FlagStep[]
  /** The segments that the steps read, each once. */
  segments: NonNullable<Step['segments']>
}

/**
 * Explains the evaluation of a flag, rule by rule. The functions that evaluate flags make this answer too, so the
 * explanation cannot disagree with an evaluation.
 * @param variantIn must have a decision for every experiment that the flag names
 * @throws Error if an experiment is not decided yet
 */
export function explainFlag(flag: FlagDefinition, subject: FlagSubject, variantIn: VariantIn): FlagExplanation {
  const steps: FlagStep[] = []
  const segments: ExplainedSegments = new Map()
  const explanation = (answer: FlagAnswer | 'user') => ({ answer, steps, segments: [...segments.values()] })
  let wasSplit = false
  for (const rule of flag.rules) {
    const skipped = explainSkipped(rule, subject, segments)
    if (skipped) {
      steps.push({ rule: rule.id, outcome: 'passed over', ...skipped })
      continue
    }
    const answer = answerOf(flag.key, rule, subject, variantIn)
    if (typeof answer === 'number') throw new Error(`Experiment ${answer} is not decided yet: decide it first`)
    const targeting = explainTargeting(rule, subject, segments)
    const serve = explainServe(flag.key, rule, subject, variantIn)
    steps.push({ rule: rule.id, outcome: answer === null ? 'passed over' : 'answered', ...targeting, ...serve })
    if (answer !== null) return explanation(answer)
    wasSplit ||= rule.serve.kind === 'rollout'
  }
  const detail =
    flag.fallback.reason === 'DISABLED'
      ? "The flag is switched off: the application's own default applies"
      : flag.rules.length === 0
        ? 'The flag has no rules: its default value applies'
        : 'No rule answered: the default value of the flag applies'
  steps.push({ rule: null, outcome: 'answered', detail })
  return explanation(wasSplit ? flag.beyondShares : flag.fallback)
}

type StepDetails = Omit<FlagStep, 'rule' | 'outcome'>

/**
 * Explains why a rule is not for the user.
 * @param known the segments that earlier steps explained
 * @returns null if the rule is for the user
 */
function explainSkipped(rule: FlagRule, subject: FlagSubject, known: ExplainedSegments): StepDetails | null {
  const { at } = subject
  if (!isInForce(rule, at)) return { detail: `The rule is ${at < rule.from ? 'not yet' : 'no longer'} in force` }
  if (!meetsCondition(rule, subject))
    return { detail: 'The condition does not hold', ...explainTargeting(rule, subject, known) }
  if (!isInSegment(rule, subject))
    return { detail: 'The user is in none of the segments', ...explainTargeting(rule, subject, known) }
  return null
}

type ExplainedSegments = Map<number, NonNullable<Step['segments']>[number]>

/** Explains the condition and the segments of a rule. @param known the segments that earlier steps explained */
function explainTargeting(
  rule: FlagRule,
  subject: FlagSubject,
  known: ExplainedSegments,
): Pick<FlagStep, 'clauses' | 'segments'> {
  const clauses = explainClauses(rule.condition, rule, subject)
  const missing = rule.segments.filter(({ id }) => !known.has(id))
  for (const segment of explainSegments({ ...rule, segments: missing }, subject) ?? [])
    known.set(segment.segment_id, segment)
  const segments = rule.segments.flatMap(({ id }) => {
    const found = known.get(id)
    return found ? [{ segment_id: id, member: found.member, holds: found.holds }] : []
  })
  return { ...(clauses.length > 0 ? { clauses } : {}), ...(segments.length > 0 ? { segments } : {}) }
}

/** Explains what a rule gives to a user who matches it. */
function explainServe(
  key: string,
  { id, serve }: FlagRule,
  { userId }: FlagSubject,
  variantIn: VariantIn,
): StepDetails {
  if (serve.kind === 'value') return { detail: 'The rule matches this user and gives one value' }
  if (serve.kind === 'experiment') {
    const given = variantIn(serve.experimentId) == null ? 'gives this user no variant' : 'gives this user a variant'
    return { detail: `Experiment ${serve.experimentId} ${given}`, experiment_id: serve.experimentId }
  }
  let from = 0
  const ranges = serve.shares.map(({ percentAllocated, answer }) => {
    const to = Math.round((from + percentAllocated) * 10_000) / 10_000
    const range = { from, to, value: answer.value }
    from = to
    return range
  })
  if (userId === null) return { detail: 'A rollout needs a user id, and the call has none', ranges }
  const position = rolloutPosition(key, id, userId)
  const detail = `The user's position in the rollout is ${position < from ? 'inside' : 'beyond'} its shares`
  return { detail, position, ranges }
}
