import { decide } from '../statistics/decision.ts'
import { KINDS } from './kinds.ts'
import { LEAST_USERS, type MetricComparison, type MetricResult } from './metric-result.ts'
import { exposedOf, type RatioCheck, type SampleRatios } from './sample-ratios.ts'
import type { RunStatistics, UnitCounts } from './statistics.ts'

/** Turns an analysis into a decision with its reasons, and into warnings. Both are sentences for the reader. */

type Outcome = 'ship' | 'stop' | 'continue' | 'blocked'
export type Decision = {
  outcome: Outcome
  /** The variant to ship; null for every other outcome. */
  variantId: number | null
  reasons: string[]
  /**
   * Days until the planned number of users is reached, at the rate so far; null where no number is planned, no user has
   * met a variant, or the run has ended.
   */
  daysLeft: number | null
  variants: { variantId: number; outcome: Outcome; reasons: string[] }[]
  /** The significant verdicts of the primary metrics by the method of the analysis, also where problems block it. */
  verdicts: { key: string; variantId: number; verdict: 'better' | 'worse' }[]
}

/** The share of exposed users above which a data problem is reported. */
const NOTABLE_SHARE = 0.01

export function decideRun(
  statistics: RunStatistics,
  ratios: SampleRatios,
  metrics: readonly MetricResult[],
): { decision: Decision; warnings: string[] } {
  const problems = findProblems(statistics, ratios, metrics)
  const computing = metrics.filter(({ status }) => status === 'computing')
  const waitsFor = findMissing(statistics, metrics)
  const treatments = statistics.variants.slice(1)
  const variants = treatments.map(({ variantId }) => {
    const { decision, reasons } = decide({
      problems,
      waitsFor,
      primaries: metrics
        .filter(({ role, status }) => role === 'primary' && status === 'ready')
        .map((metric) => verdictOf(statistics, metric, comparisonOf(metric, variantId))),
      guardrails: metrics
        .filter(({ role }) => role === 'guardrail')
        .map((metric) => ({
          metric: metric.name,
          verdict: comparisonOf(metric, variantId)?.guardrail?.verdict ?? 'inconclusive',
        })),
    })
    return { variantId, outcome: decision, reasons }
  })
  const decision: Decision = {
    ...overall(statistics, metrics, variants, problems),
    daysLeft: daysLeft(statistics),
    variants,
    verdicts: waitsFor === null ? findVerdicts(statistics, metrics) : [],
  }
  const warnings = [
    ...problems.map(sentence),
    ...findWarnings(statistics, metrics),
    ...computing.map(
      ({ key }) => `Metric ${key} is being computed from what was recorded before; it is left out until then.`,
    ),
  ]
  return { decision, warnings }
}

function findVerdicts(statistics: RunStatistics, metrics: readonly MetricResult[]): Decision['verdicts'] {
  return metrics
    .filter(({ role, status }) => role === 'primary' && status === 'ready')
    .flatMap((metric) =>
      metric.comparisons.flatMap((comparison) => {
        const { isBetter, isWorse } = verdictOf(statistics, metric, comparison)
        const verdict = isBetter ? 'better' : isWorse ? 'worse' : null
        return verdict ? [{ key: metric.key, variantId: comparison.variantId, verdict } as const] : []
      }),
    )
}

const comparisonOf = ({ comparisons }: MetricResult, variantId: number) =>
  comparisons.find((comparison) => comparison.variantId === variantId)

/**
 * Judges a comparison: by the adjusted p-value of the sequential or the fixed method, or by the Bayesian probability
 * to be better.
 */
function verdictOf({ question }: RunStatistics, metric: MetricResult, comparison: MetricComparison | undefined) {
  const { method, confidenceLevel } = question
  const alpha = 1 - confidenceLevel
  const isGood = (comparison?.difference ?? 0) > 0 === (metric.direction === 'increase')
  if (method === 'bayesian') {
    const probability = comparison?.bayesian?.probabilityBetter ?? 0.5
    return { metric: metric.name, isBetter: probability > 1 - alpha / 2, isWorse: probability < alpha / 2 }
  }
  const pValue = method === 'sequential' ? comparison?.alwaysValid?.pValueAdjusted : comparison?.pValueAdjusted
  const isSignificant = pValue != null && pValue < alpha && comparison?.difference !== 0
  return { metric: metric.name, isBetter: isSignificant && isGood, isWorse: isSignificant && !isGood }
}

function overall(
  { variants: all }: RunStatistics,
  metrics: readonly MetricResult[],
  variants: Decision['variants'],
  problems: readonly string[],
): Omit<Decision, 'daysLeft' | 'variants' | 'verdicts'> {
  const none = { variantId: null }
  if (problems.length > 0) return { ...none, outcome: 'blocked', reasons: problems.map(sentence) }
  if (variants.length === 0)
    return { ...none, outcome: 'continue', reasons: ['There is no variant to compare the control with.'] }
  const isShared = variants.every(({ reasons }) => reasons.join() === variants[0]?.reasons.join())
  const named = ({ variantId, reasons }: Decision['variants'][number]) => {
    const name = all.find((variant) => variant.variantId === variantId)?.variantName ?? String(variantId)
    return reasons.map((reason) => sentence(isShared ? reason : `in ${name}, ${reason}`))
  }
  const gains = variants.filter(({ outcome }) => outcome === 'ship')
  const best = gains.toSorted((one, other) => gainOf(metrics, other.variantId) - gainOf(metrics, one.variantId))[0]
  if (best) return { outcome: 'ship', variantId: best.variantId, reasons: named(best) }
  const outcome = variants.every((variant) => variant.outcome === 'stop') ? 'stop' : 'continue'
  return { ...none, outcome, reasons: [...new Set(variants.flatMap(named))] }
}

/** Returns a variant's uplift in the first primary metric: positive in the metric's good direction, 0 if undefined. */
function gainOf(metrics: readonly MetricResult[], variantId: number): number {
  const metric = metrics.find(({ role, status }) => role === 'primary' && status === 'ready')
  const uplift = (metric && comparisonOf(metric, variantId)?.uplift?.value) ?? 0
  return metric?.direction === 'decrease' ? -uplift : uplift
}

const sentence = (text: string) => {
  const whole = `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`
  return /[.!?]$/.test(whole) ? whole : `${whole}.`
}

/** Lists the faults for which the data cannot be trusted. Each one blocks the decision. */
function findProblems(statistics: RunStatistics, ratios: SampleRatios, metrics: readonly MetricResult[]): string[] {
  const users = usersOf(statistics)
  const total = sum(users.map(({ count }) => count))
  const problems: string[] = []
  if (ratios.assigned.isMismatch) problems.push(mismatch('assigned', ratios.assigned, ratios, statistics))
  else if (ratios.exposed.isMismatch) problems.push(mismatch('exposed', ratios.exposed, ratios, statistics))
  if (ratios.exclusions.isMismatch)
    problems.push(
      `users are left out of the variants at different rates (p ${shortP(ratios.exclusions.pValue)}), which biases every comparison`,
    )
  const shares = statistics.periods.at(-1)?.shares ?? {}
  for (const { variantId, variantName, enabled } of statistics.variants) {
    const count = users.find((row) => row.variantId === variantId)?.count ?? 0
    if (!enabled && count > 0) problems.push(`variant ${variantName} is disabled: its users no longer get it`)
    else if (count === 0 && (shares[variantId] ?? 0) > 0 && total >= LEAST_USERS)
      problems.push(`variant ${variantName} has a share and no users`)
  }
  for (const metric of metrics.filter(({ role }) => role === 'primary')) {
    const own = statistics.metrics.find(({ key }) => key === metric.key)
    const exposing = own && own.kind !== 'quantile' ? sum(own.sums.map((row) => row.exposing)) : 0
    if (total > 0 && exposing / total > NOTABLE_SHARE)
      problems.push(
        `${percent(exposing / total)} of the users were first exposed by an event that ${metric.name} measures: users without such an event are missing (survivorship); report every exposure`,
      )
  }
  return problems
}

function mismatch(what: string, check: RatioCheck, { causes }: SampleRatios, statistics: RunStatistics): string {
  const p = check.sequentialPValue ?? check.pValue
  const cause = causes[0]
  const named = cause
    ? `; it lies with ${cause.by} ${cause.value} (${worst(cause, statistics)})${cause.explainsAll ? ', without which the rest agrees' : ''}`
    : ''
  const fault =
    check.status === 'unexpected_variant'
      ? 'a variant without a share has users'
      : `p ${shortP(Math.min(p, check.pValue))}`
  return `sample ratio mismatch: the ${what} users are not shared among the variants as allocated (${fault})${named}`
}

/** Names the variant that lacks the most users, with the observed and the expected number. */
function worst({ variants }: SampleRatios['causes'][number], statistics: RunStatistics): string {
  const off = variants.toSorted((one, other) => one.users - one.expected - (other.users - other.expected))[0]
  if (!off) return ''
  const name = statistics.variants.find(({ variantId }) => variantId === off.variantId)?.variantName
  return `${off.users} users in ${name}, ${Math.round(off.expected)} expected`
}

const usersOf = ({ variants, units }: RunStatistics) =>
  variants.map(({ variantId }) => ({
    variantId,
    count: sum(units.filter((row) => row.variantId === variantId).map((row) => row.users)),
  }))

/** Returns the reason why the analysis may not be read yet; null where it may. */
function findMissing(statistics: RunStatistics, metrics: readonly MetricResult[]): string | null {
  const { question, hasEnded } = statistics
  const counts = usersOf(statistics).map(({ count }) => count)
  const total = sum(counts)
  if (metrics.some(({ role, status }) => role === 'primary' && status === 'computing'))
    return 'a primary metric is still being computed'
  if (question.method === 'sequential') {
    const compared = counts.filter((count) => count > 0)
    return counts.length < 2 || compared.length < 2 || Math.min(...compared) < LEAST_USERS
      ? `a variant has fewer than ${LEAST_USERS} users, too few for an analysis that may be looked at any time`
      : null
  }
  if (hasEnded) return null
  if (question.plannedUsers !== null)
    return total < question.plannedUsers
      ? `the planned size is not reached: ${total} of ${question.plannedUsers} users`
      : null
  return question.method === 'fixed'
    ? 'no number of users is planned, so that a fixed analysis may be read only when the run has ended'
    : null
}

function daysLeft(statistics: RunStatistics): number | null {
  const { question, days, hasEnded } = statistics
  const total = sum(usersOf(statistics).map(({ count }) => count))
  if (question.plannedUsers === null || days === null || hasEnded || total === 0) return null
  if (total >= question.plannedUsers) return 0
  return Math.ceil((question.plannedUsers - total) / (total / Math.max(days, 1 / 24)))
}

function findWarnings(statistics: RunStatistics, metrics: readonly MetricResult[]): string[] {
  const exposed = sum(statistics.units.map(exposedOf))
  if (exposed === 0) return ['Nobody has met a variant yet.']
  return [
    ...userWarnings(statistics, exposed),
    ...periodWarnings(statistics, metrics),
    ...metrics.flatMap(metricWarnings),
    ...methodWarnings(statistics),
  ]
}

/** @param exposed users who met a variant, excluded or not */
function userWarnings({ units }: RunStatistics, exposed: number): string[] {
  const count = (countOf: (row: UnitCounts) => number) => sum(units.map(countOf))
  const warnings: string[] = []
  const crossovers = count(({ excluded }) => excluded.crossover) / exposed
  if (crossovers > NOTABLE_SHARE)
    warnings.push(
      `${percent(crossovers)} of the users were seen with two variants and are left out: look for a user who is known by several ids.`,
    )
  const claimedOther = count((row) => row.claimedOther) / exposed
  if (claimedOther > NOTABLE_SHARE)
    warnings.push(
      `Events of ${percent(claimedOther)} of the users name another variant than they were given: the application may show what it decided itself.`,
    )
  const externallyDecided = count((row) => row.externallyDecided)
  if (externallyDecided > 0)
    warnings.push(
      `The variants of ${externallyDecided} users were decided by the application, not drawn here: whether they are comparable cannot be tested.`,
    )
  return warnings
}

function periodWarnings(statistics: RunStatistics, metrics: readonly MetricResult[]): string[] {
  const { periods } = statistics
  if (periods.length <= 1) return []
  const warnings = [
    `The allocation changed during the run: comparisons are stratified by its ${periods.length} periods.`,
  ]
  const pooled = metrics.filter(({ kind }) => !KINDS[kind].isStratified).map(({ name }) => name)
  if (pooled.length > 0)
    warnings.push(`Quantiles cannot be stratified: ${pooled.join(', ')} mixes the periods, and may mislead.`)
  const unadjusted = statistics.metrics.filter(
    (metric) => metric.kind !== 'quantile' && metric.hasCovariate && !KINDS[metric.kind].adjustsOverPeriods,
  )
  if (unadjusted.length > 0)
    warnings.push(
      `${unadjusted.map(({ name }) => name).join(', ')} is compared without its covariate over several periods.`,
    )
  return warnings
}

function metricWarnings({ name, variants, comparisons }: MetricResult): string[] {
  const unusable = sum(variants.map((variant) => variant.unusable))
  const reasons = [...new Set(comparisons.flatMap(({ reason }) => reason ?? []))]
  return [
    ...(unusable > 0
      ? [`${unusable} events of ${name} hold no usable number: they count as events and add nothing.`]
      : []),
    ...reasons.map((reason) => `${name}: ${sentence(reason)}`),
  ]
}

function methodWarnings({ question, hasEnded }: RunStatistics): string[] {
  const warnings: string[] = []
  if (question.method === 'bayesian' && question.plannedUsers === null)
    warnings.push('Probabilities do not protect against stopping as soon as one likes them: plan a number of users.')
  if (question.method === 'fixed' && !hasEnded)
    warnings.push(
      'A fixed analysis is right once, at its planned end: looking earlier and stopping on what is seen raises false alarms.',
    )
  return warnings
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)
const percent = (share: number) => `${Number((100 * share).toPrecision(3))} %`
const shortP = (p: number) => (p < 1e-4 ? '< 0.0001' : `= ${p.toFixed(4)}`)
