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

/** One rule of a flag and how it ended; the last step, without a rule, is the flag's own. */
type FlagStep = {
  rule: string | null
  outcome: 'passed over' | 'answered'
  detail: string
  /** The user's place in [0, 100) of a rollout's draw. */
  position?: number
  /** The positions of each value of a rollout: from inclusive, to exclusive. */
  ranges?: { from: number; to: number; value: unknown }[]
  clauses?: ExplainedClause[]
  segments?: { segment_id: number; member: boolean; holds: boolean }[]
  /** The experiment that decides, where one does. */
  experiment_id?: number
}

type FlagExplanation = {
  answer: FlagAnswer | 'user'
  steps: FlagStep[]
  /** The segments that were looked at, each once. */
  segments: NonNullable<Step['segments']>
}

/**
 * The evaluation of a flag, rule by rule, by the very functions that evaluate.
 * @param at milliseconds since 1970
 * @param variantIn knows every experiment that the flag names
 */
export function explainFlag(
  flag: FlagDefinition,
  subject: FlagSubject,
  at: number,
  variantIn: VariantIn,
): FlagExplanation {
  const steps: FlagStep[] = []
  const segments: Explained = new Map()
  const explanation = (answer: FlagAnswer | 'user') => ({ answer, steps, segments: [...segments.values()] })
  for (const rule of flag.rules) {
    const unfit = whyUnfit(rule, subject, at, segments)
    if (unfit) {
      steps.push({ rule: rule.id, outcome: 'passed over', ...unfit })
      continue
    }
    const answer = answerOf(flag.key, rule, subject, variantIn)
    if (typeof answer === 'number') throw new Error(`Experiment ${answer} is to be decided first`)
    const found = { ...lookedAt(rule, subject, segments), ...served(flag.key, rule, subject, variantIn) }
    steps.push({ rule: rule.id, outcome: answer === null ? 'passed over' : 'answered', ...found })
    if (answer !== null) return explanation(answer)
  }
  const detail =
    flag.fallback.reason === 'DISABLED'
      ? "The flag is switched off: the application's own default"
      : flag.rules.length === 0
        ? 'The flag has no rules: its default value'
        : 'No rule answered: the default value of the flag'
  steps.push({ rule: null, outcome: 'answered', detail })
  return explanation(flag.fallback)
}

type Found = Omit<FlagStep, 'rule' | 'outcome'>

/** Why a rule is not for the user; null where it is. */
function whyUnfit(rule: FlagRule, subject: FlagSubject, at: number, known: Explained): Found | null {
  if (!isInForce(rule, at)) return { detail: `The rule is ${at < rule.from ? 'not yet' : 'no longer'} in force` }
  if (!meetsCondition(rule, subject))
    return { detail: 'The condition does not hold', ...lookedAt(rule, subject, known) }
  if (!isInSegment(rule, subject))
    return { detail: 'The user is in none of the segments', ...lookedAt(rule, subject, known) }
  return null
}

type Explained = Map<number, NonNullable<Step['segments']>[number]>

/** @param known the segments that were explained already */
function lookedAt(rule: FlagRule, subject: FlagSubject, known: Explained): Pick<FlagStep, 'clauses' | 'segments'> {
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

function served(key: string, { id, serve }: FlagRule, { userId }: FlagSubject, variantIn: VariantIn): Found {
  if (serve.kind === 'value') return { detail: 'The rule is for this user and gives one value' }
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
  if (userId === null) return { detail: 'A rollout draws by user id, and none was given', ranges }
  const place = rolloutPosition(key, id, userId)
  const detail = `The user's position in the rollout is ${place < from ? 'inside' : 'beyond'} its shares`
  return { detail, position: place, ranges }
}
