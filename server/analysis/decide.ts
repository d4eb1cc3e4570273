import { decide } from '../statistics/decision.ts'
import { LEAST_USERS, type MetricComparison, type MetricResult } from './metric-result.ts'
import type { RatioCheck, SampleRatios } from './sample-ratios.ts'
import type { RunStatistics } from './statistics.ts'

/** What to do, and what to know first, in sentences. */

export type Outcome = 'ship' | 'stop' | 'continue' | 'blocked'
export type Decision = {
  outcome: Outcome
  /** The variant to ship; null for every other outcome. */
  variant_id: number | null
  reasons: string[]
  /** Until the planned users are there, as they have come so far; null where none are planned, or none came. */
  days_left: number | null
  variants: { variant_id: number; outcome: Outcome; reasons: string[] }[]
  /** What the primary metrics say by the method of the analysis, whether or not that may be acted upon. */
  verdicts: { key: string; variant_id: number; verdict: 'better' | 'worse' }[]
}

/** Above this share of the users, something is said of them. */
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
  const variants = treatments.map(({ variant_id }) => {
    const { decision, reasons } = decide({
      problems,
      waitsFor,
      primaries: metrics
        .filter(({ role, status }) => role === 'primary' && status === 'ready')
        .map((metric) => verdictOf(statistics, metric, comparisonOf(metric, variant_id))),
      guardrails: metrics
        .filter(({ role }) => role === 'guardrail')
        .map((metric) => ({
          metric: metric.name,
          verdict: comparisonOf(metric, variant_id)?.guardrail?.verdict ?? 'inconclusive',
        })),
    })
    return { variant_id, outcome: decision, reasons }
  })
  const decision: Decision = {
    ...overall(statistics, metrics, variants, problems),
    days_left: daysLeft(statistics),
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
        return verdict ? [{ key: metric.key, variant_id: comparison.variant_id, verdict } as const] : []
      }),
    )
}

const comparisonOf = ({ comparisons }: MetricResult, variantId: number) =>
  comparisons.find(({ variant_id }) => variant_id === variantId)

/** By the p-value that the method goes by, after its correction; the Bayesian one by the probability to be better. */
function verdictOf({ question }: RunStatistics, metric: MetricResult, comparison: MetricComparison | undefined) {
  const { method, confidence_level } = question
  const alpha = 1 - confidence_level
  const isGood = (comparison?.difference ?? 0) > 0 === (metric.direction === 'increase')
  if (method === 'bayesian') {
    const probability = comparison?.bayesian?.probability_better ?? 0.5
    return { metric: metric.name, isBetter: probability > 1 - alpha / 2, isWorse: probability < alpha / 2 }
  }
  const pValue = method === 'sequential' ? comparison?.always_valid?.p_value_adjusted : comparison?.p_value_adjusted
  const isSignificant = pValue != null && pValue < alpha && comparison?.difference !== 0
  return { metric: metric.name, isBetter: isSignificant && isGood, isWorse: isSignificant && !isGood }
}

function overall(
  { variants: all }: RunStatistics,
  metrics: readonly MetricResult[],
  variants: Decision['variants'],
  problems: readonly string[],
): Omit<Decision, 'days_left' | 'variants' | 'verdicts'> {
  const none = { variant_id: null }
  if (problems.length > 0) return { ...none, outcome: 'blocked', reasons: problems.map(sentence) }
  if (variants.length === 0)
    return { ...none, outcome: 'continue', reasons: ['There is no variant to compare the control with.'] }
  const isShared = variants.every(({ reasons }) => reasons.join() === variants[0]?.reasons.join())
  const named = ({ variant_id, reasons }: Decision['variants'][number]) => {
    const name = all.find((variant) => variant.variant_id === variant_id)?.variant_name ?? String(variant_id)
    return reasons.map((reason) => sentence(isShared ? reason : `in ${name}, ${reason}`))
  }
  const gains = variants.filter(({ outcome }) => outcome === 'ship')
  const best = gains.toSorted((one, other) => gainOf(metrics, other.variant_id) - gainOf(metrics, one.variant_id))[0]
  if (best) return { outcome: 'ship', variant_id: best.variant_id, reasons: named(best) }
  const outcome = variants.every((variant) => variant.outcome === 'stop') ? 'stop' : 'continue'
  return { ...none, outcome, reasons: [...new Set(variants.flatMap(named))] }
}

/** How much a variant gains in the first primary metric, as an uplift in the good direction. */
function gainOf(metrics: readonly MetricResult[], variantId: number): number {
  const metric = metrics.find(({ role, status }) => role === 'primary' && status === 'ready')
  const uplift = (metric && comparisonOf(metric, variantId)?.uplift?.value) ?? 0
  return metric?.direction === 'decrease' ? -uplift : uplift
}

const sentence = (text: string) => {
  const whole = `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`
  return /[.!?]$/.test(whole) ? whole : `${whole}.`
}

/** Data that cannot be trusted, each fault named. */
function findProblems(statistics: RunStatistics, ratios: SampleRatios, metrics: readonly MetricResult[]): string[] {
  const users = usersOf(statistics)
  const total = sum(users.map(({ count }) => count))
  const problems: string[] = []
  if (ratios.assigned.is_mismatch) problems.push(mismatch('assigned', ratios.assigned, ratios, statistics))
  else if (ratios.exposed.is_mismatch) problems.push(mismatch('exposed', ratios.exposed, ratios, statistics))
  if (ratios.exclusions.is_mismatch)
    problems.push(
      `users are left out of the variants at different rates (p ${shortP(ratios.exclusions.p_value)}), which biases every comparison`,
    )
  const shares = statistics.periods.at(-1)?.shares ?? {}
  for (const { variant_id, variant_name, enabled } of statistics.variants) {
    const count = users.find((row) => row.variant_id === variant_id)?.count ?? 0
    if (!enabled && count > 0) problems.push(`variant ${variant_name} is disabled: its users no longer get it`)
    else if (count === 0 && (shares[variant_id] ?? 0) > 0 && total >= LEAST_USERS)
      problems.push(`variant ${variant_name} has a share and no users`)
  }
  for (const metric of metrics.filter(({ role }) => role === 'primary')) {
    const exposing = sum(
      statistics.metrics.find(({ key }) => key === metric.key)?.sums.map((row) => row.exposing) ?? [],
    )
    if (total > 0 && exposing / total > NOTABLE_SHARE)
      problems.push(
        `${percent(exposing / total)} of the users were first exposed by an event of what ${metric.name} measures: whoever does nothing is missing (survivorship); report every exposure`,
      )
  }
  return problems
}

function mismatch(what: string, check: RatioCheck, { causes }: SampleRatios, statistics: RunStatistics): string {
  const p = check.sequential_p_value ?? check.p_value
  const cause = causes[0]
  const named = cause
    ? `; it lies with ${cause.by} ${cause.value} (${worst(cause, statistics)})${cause.explains_all ? ', without which the rest agrees' : ''}`
    : ''
  const fault =
    check.status === 'unexpected_variant'
      ? 'a variant without a share has users'
      : `p ${shortP(Math.min(p, check.p_value))}`
  return `sample ratio mismatch: the ${what} users are not shared among the variants as allocated (${fault})${named}`
}

/** The variant that lacks most. */
function worst({ variants }: SampleRatios['causes'][number], statistics: RunStatistics): string {
  const off = variants.toSorted((one, other) => one.users - one.expected - (other.users - other.expected))[0]
  if (!off) return ''
  const name = statistics.variants.find(({ variant_id }) => variant_id === off.variant_id)?.variant_name
  return `${off.users} users in ${name}, ${Math.round(off.expected)} expected`
}

const usersOf = ({ variants, units }: RunStatistics) =>
  variants.map(({ variant_id }) => ({
    variant_id,
    count: sum(units.filter((row) => row.variant_id === variant_id).map((row) => row.users)),
  }))

/** What is missing before the analysis may be read; null: nothing. */
function findMissing(statistics: RunStatistics, metrics: readonly MetricResult[]): string | null {
  const { question, has_ended } = statistics
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
  if (has_ended) return null
  if (question.planned_users !== null)
    return total < question.planned_users
      ? `the planned size is not reached: ${total} of ${question.planned_users} users`
      : null
  return question.method === 'fixed'
    ? 'no number of users is planned, so that a fixed analysis may be read only when the run has ended'
    : null
}

function daysLeft(statistics: RunStatistics): number | null {
  const { question, days, has_ended } = statistics
  const total = sum(usersOf(statistics).map(({ count }) => count))
  if (question.planned_users === null || days === null || has_ended || total === 0) return null
  if (total >= question.planned_users) return 0
  return Math.ceil((question.planned_users - total) / (total / Math.max(days, 1 / 24)))
}

function findWarnings(statistics: RunStatistics, metrics: readonly MetricResult[]): string[] {
  const { units, periods, question } = statistics
  const count = (of: keyof RunStatistics['units'][number]) => sum(units.map((row) => row[of]))
  const exposed =
    count('users') +
    count('crossovers') +
    count('overridden') +
    count('excluded_by_hand') +
    count('excluded_by_attribute') +
    count('excluded_by_rate')
  const warnings: string[] = []
  if (exposed === 0) return ['Nobody has met a variant yet.']
  const share = (of: keyof RunStatistics['units'][number]) => count(of) / exposed
  if (share('crossovers') > NOTABLE_SHARE)
    warnings.push(
      `${percent(share('crossovers'))} of the users were seen with two variants and are left out: look for a user who is known by several ids.`,
    )
  if (share('claimed_other') > NOTABLE_SHARE)
    warnings.push(
      `Events of ${percent(share('claimed_other'))} of the users name another variant than they were given: the application may show what it decided itself.`,
    )
  if (count('externally_decided') > 0)
    warnings.push(
      `The variants of ${count('externally_decided')} users were decided by the application, not drawn here: whether they are comparable cannot be tested.`,
    )
  if (periods.length > 1) {
    const pooled = metrics.filter(({ kind }) => kind === 'quantile').map(({ name }) => name)
    warnings.push(`The allocation changed during the run: comparisons are stratified by its ${periods.length} periods.`)
    if (pooled.length > 0)
      warnings.push(`Quantiles cannot be stratified: ${pooled.join(', ')} mixes the periods, and may mislead.`)
    const ratios = statistics.metrics.filter(({ kind, has_covariate }) => kind === 'ratio' && has_covariate)
    if (ratios.length > 0)
      warnings.push(
        `${ratios.map(({ name }) => name).join(', ')} is compared without its covariate over several periods.`,
      )
  }
  for (const metric of metrics) {
    const unusable = sum(metric.variants.map((variant) => variant.unusable))
    if (unusable > 0)
      warnings.push(`${unusable} events of ${metric.name} hold no usable number: they count as events and add nothing.`)
    const reasons = new Set(metric.comparisons.flatMap(({ reason }) => reason ?? []))
    for (const reason of reasons) warnings.push(`${metric.name}: ${sentence(reason)}`)
  }
  if (question.method === 'bayesian' && question.planned_users === null)
    warnings.push('Probabilities do not protect against stopping as soon as one likes them: plan a number of users.')
  if (question.method === 'fixed' && !statistics.has_ended)
    warnings.push(
      'A fixed analysis is right once, at its planned end: looking earlier and stopping on what is seen raises false alarms.',
    )
  return warnings
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)
const percent = (share: number) => `${Number((100 * share).toPrecision(3))} %`
const shortP = (p: number) => (p < 1e-4 ? '< 0.0001' : `= ${p.toFixed(4)}`)
