import { nominalAlpha, type Reading } from './looks.ts'
import type { DecidedBy, MetricResult, Verdict } from './metric-result.ts'
import type { LookFigures, MetricRole, RunStatistics } from './statistics.ts'

/**
 * Judges the comparisons of the primary metrics and guardrails by the method of the analysis. Gains and harms are two
 * families, each adjusted by Holm: gains are sought in the primary metrics, harms in primary metrics and guardrails. A
 * family is tested at the two-sided alpha and only one direction of it counts, so that false gains and false harms
 * together happen with probability alpha.
 * @see Holm (1979), Scand. J. Stat. 6, 65-70; Maurer, Bretz (2013), Stat. Biopharm. Res. 5, 311-320, for planned looks
 */

export type Judged = {
  key: string
  variantId: number
  role: MetricRole
  direction: MetricResult['direction']
  isBetter: boolean
  isWorse: boolean
  /** The treatment is shown to be worse by less than the margin of the guardrail. */
  isNonInferior: boolean
  decidedBy: DecidedBy | null
  /** The findings of the deciding look; null before any. */
  figures: LookFigures | null
}

type Member = Pick<Judged, 'key' | 'variantId' | 'role' | 'direction'>
type Direction = 'good' | 'bad'
/** `divisor`: the number of comparisons among which alpha is divided after the last step of the last look. */
type Family = { rejected: Map<string, Rejection>; divisor: number }
type Rejection = { directions: Set<Direction>; decidedBy: DecidedBy; figures: LookFigures }

/** A moment at which a method may be read: the p-value of each member and direction, and the thresholds. */
type Moment = {
  figures: readonly LookFigures[]
  pValueOf: (figures: LookFigures, direction: 'higher' | 'lower') => number | null
  /** @param comparisons the number of comparisons among which alpha is divided */
  thresholdFor: (comparisons: number) => number
  figure: DecidedBy['figure']
}

/** @param readings the planned looks; of a sequential analysis none, which may be read at any time */
export function judge(
  statistics: RunStatistics,
  metrics: readonly MetricResult[],
  readings: readonly Reading[],
  running: readonly LookFigures[],
): Judged[] {
  const { method } = statistics.question
  const moments =
    method === 'sequential'
      ? [runningMoment(statistics, running)]
      : readings.map((reading) => momentOf(statistics, reading))
  const members = membersOf(metrics)
  // The threshold of a Bayesian analysis is the same for all comparisons; Holm's steps are for p-values.
  const stepsDown = method !== 'bayesian'
  const gains = reject(
    members.filter(({ role }) => role === 'primary'),
    moments,
    stepsDown,
  )
  const harms = reject(members, moments, stepsDown)
  const enabled = new Set(statistics.variants.flatMap((variant) => (variant.enabled ? [variant.variantId] : [])))
  return members
    .filter(({ variantId }) => enabled.has(variantId))
    .map((member): Judged => {
      const { key, variantId, role, direction } = member
      const name = identity({ key, variantId })
      const last = moments.at(-1)
      const figures = last?.figures.find((row) => identity(row) === name) ?? null
      const gain = gains.rejected.get(name)
      const harm = harms.rejected.get(name)
      const isBetter = gain?.directions.has('good') ?? false
      const isWorse = harm?.directions.has('bad') ?? false
      const rejection = isWorse ? harm : isBetter ? gain : undefined
      return {
        key,
        variantId,
        role,
        direction,
        isBetter,
        isWorse,
        isNonInferior: isNonInferior(statistics, metrics, readings, { key, variantId }),
        decidedBy: rejection?.decidedBy ?? undecidedBy(last, figures, member, gains, harms),
        figures: rejection?.figures ?? figures,
      }
    })
}

/** Judges by the always-valid test, whatever the method: this is what alerts go by. */
export const judgeAlways = (
  statistics: RunStatistics,
  metrics: readonly MetricResult[],
  running: readonly LookFigures[],
): Judged[] =>
  judge({ ...statistics, question: { ...statistics.question, method: 'sequential' } }, metrics, [], running)

export const verdictOf = ({ isBetter, isWorse }: Pick<Judged, 'isBetter' | 'isWorse'>): Verdict =>
  isBetter ? (isWorse ? 'contradictory' : 'better') : isWorse ? 'worse' : 'undecided'

const identity = ({ key, variantId }: Pick<LookFigures, 'key' | 'variantId'>) => `${variantId} ${key}`

/**
 * Lists the comparisons among which alpha is divided. Those of a variant that was switched off stay: it may have been
 * switched off for its figures, and then the others are the best of as many as before.
 */
const membersOf = (metrics: readonly MetricResult[]): Member[] =>
  metrics
    .filter(({ role, status }) => role !== 'secondary' && status === 'ready')
    .flatMap(({ key, role, direction, comparisons }) =>
      comparisons.map(({ variantId }) => ({ key, variantId, role, direction })),
    )

function runningMoment({ question }: RunStatistics, figures: readonly LookFigures[]): Moment {
  return {
    figures,
    pValueOf: ({ pHigher, pLower }, direction) => (direction === 'higher' ? pHigher : pLower),
    thresholdFor: (comparisons) => (1 - question.confidenceLevel) / comparisons,
    figure: 'always_valid.p_value',
  }
}

function momentOf({ question }: RunStatistics, { look, fractions }: Reading): Moment {
  const isBayesian = question.method === 'bayesian'
  return {
    figures: look.figures,
    pValueOf: isBayesian ? posteriorPValue : fixedPValue,
    thresholdFor: (comparisons) => nominalAlpha(fractions, 1 - (1 - question.confidenceLevel) / comparisons),
    figure: isBayesian ? 'bayesian.probability_better' : 'p_value',
  }
}

const fixedPValue: Moment['pValueOf'] = ({ pValue, difference }, direction) =>
  pValue === null || difference === null
    ? null
    : difference !== 0 && difference > 0 === (direction === 'higher')
      ? pValue
      : 1

/** The two-sided p-value with which a probability to be better agrees under a flat prior: 0.975 is 0.05. */
const posteriorPValue: Moment['pValueOf'] = ({ probabilityBetter, difference }, direction) =>
  probabilityBetter === null || difference === null
    ? null
    : difference > 0 === (direction === 'higher')
      ? 2 * Math.min(probabilityBetter, 1 - probabilityBetter)
      : 1

const SIDES = { increase: { good: 'higher', bad: 'lower' }, decrease: { good: 'lower', bad: 'higher' } } as const

/** Rejects hypotheses of a family by Holm's steps, look by look. What was rejected once stays rejected. */
function reject(family: readonly Member[], moments: readonly Moment[], stepsDown: boolean): Family {
  const rejected = new Map<string, Rejection>()
  let divisor = family.length
  for (const moment of moments) {
    const found = new Map(moment.figures.map((figures) => [identity(figures), figures]))
    const tested = family.flatMap((member) => {
      const figures = found.get(identity(member))
      const pValues = (['good', 'bad'] as const).flatMap((direction) => {
        const pValue = figures && moment.pValueOf(figures, SIDES[member.direction][direction])
        return pValue == null ? [] : [{ direction, pValue }]
      })
      return figures && pValues.length > 0 ? [{ name: identity(member), figures, pValues }] : []
    })
    const smallest = ({ pValues }: (typeof tested)[number]) => Math.min(...pValues.map(({ pValue }) => pValue))
    let open = tested.filter(({ name }) => !rejected.has(name)).sort((one, other) => smallest(one) - smallest(other))
    const add = (one: (typeof tested)[number], comparisons: number) => {
      const threshold = moment.thresholdFor(comparisons)
      const significant = one.pValues.filter(({ pValue }) => pValue < threshold)
      if (significant.length === 0) return false
      const value = smallest(one)
      const known = rejected.get(one.name)
      for (const { direction } of significant) known?.directions.add(direction)
      if (!known)
        rejected.set(one.name, {
          directions: new Set(significant.map(({ direction }) => direction)),
          decidedBy: decidedAs(moment, one.figures, value, threshold),
          figures: one.figures,
        })
      return true
    }
    // A rejected hypothesis that is rejected again, in the other direction, is a contradiction.
    for (const one of tested.filter(({ name }) => rejected.has(name))) add(one, tested.length)
    for (let [first] = open; first !== undefined; [first] = open) {
      if (!add(first, stepsDown ? open.length : tested.length)) break
      open = open.slice(1)
    }
    divisor = stepsDown ? open.length : tested.length
  }
  return { rejected, divisor: Math.max(1, divisor) }
}

function decidedAs({ figure }: Moment, figures: LookFigures, pValue: number, threshold: number): DecidedBy {
  const rounded = (share: number) => Number(share.toPrecision(12))
  if (figure !== 'bayesian.probability_better') return { figure, value: pValue, threshold: rounded(threshold) }
  const probability = figures.probabilityBetter ?? 0.5
  return { figure, value: probability, threshold: rounded(probability >= 0.5 ? 1 - threshold / 2 : threshold / 2) }
}

/**
 * Describes an undecided comparison: its figure, and the threshold that the smallest p-value of its family must meet.
 * The family is that of its direction: a guardrail can only do harm.
 */
function undecidedBy(
  moment: Moment | undefined,
  figures: LookFigures | null,
  { role, direction }: Member,
  gains: Family,
  harms: Family,
): DecidedBy | null {
  if (!moment || !figures) return null
  const good = moment.pValueOf(figures, SIDES[direction].good)
  const bad = moment.pValueOf(figures, SIDES[direction].bad)
  if (good === null || bad === null) return null
  const { divisor } = role === 'primary' && good <= bad ? gains : harms
  return decidedAs(moment, figures, Math.min(good, bad), moment.thresholdFor(divisor))
}

/** Non-inferiority is one-sided at alpha. At a planned look its threshold is that of the look at 1 - 2 alpha, halved. */
function isNonInferior(
  { question }: RunStatistics,
  metrics: readonly MetricResult[],
  readings: readonly Reading[],
  { key, variantId }: Pick<Judged, 'key' | 'variantId'>,
): boolean {
  if (question.method === 'sequential') {
    const metric = metrics.find((one) => one.key === key)
    return metric?.comparisons.find((one) => one.variantId === variantId)?.guardrail?.isNonInferior ?? false
  }
  const reading = readings.at(-1)
  const pValue = reading?.look.figures.find(
    (row) => row.key === key && row.variantId === variantId,
  )?.nonInferiorityPValue
  if (!reading || pValue == null) return false
  return pValue < nominalAlpha(reading.fractions, 1 - 2 * (1 - question.confidenceLevel)) / 2
}
