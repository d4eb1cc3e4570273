import { exposedOf, sum } from './counts.ts'
import { formatCount, formatFigure, formatPEquation, formatPercent, formatUsers, sentence } from './format-figures.ts'
import { KINDS } from './kinds.ts'
import type { MetricResult } from './metric-result.ts'
import { NOTABLE_SHARE } from './problems.ts'
import { ratioWarnings, type SampleRatios } from './sample-ratios.ts'
import type { Departure, RunStatistics, UnitCounts } from './statistics.ts'
import { seenWarnings, valueWarnings } from './value-warnings.ts'

/** The p-value below which a difference before exposure is reported. */
const NOTABLE_IMBALANCE = 1e-4

/**
 * Finds what a reader should know before the figures, and what does not block the decision. `balanceWarnings` come before
 * all other warnings of an answer.
 */
export function findWarnings(
  statistics: RunStatistics,
  ratios: SampleRatios,
  metrics: readonly MetricResult[],
): string[] {
  const exposed = sum(statistics.units.map(exposedOf))
  if (exposed === 0) return [...beforeStartWarnings(statistics), nobodyWarning(statistics)]
  return [
    ...disabledWarnings(statistics),
    ...ratioWarnings(statistics, ratios),
    ...beforeStartWarnings(statistics),
    ...userWarnings(statistics, exposed),
    ...periodWarnings(statistics),
    ...metrics.flatMap((metric) => metricWarnings(statistics, metric)),
    ...seenWarnings(statistics, metrics),
    ...computingWarnings(metrics),
    ...methodWarnings(statistics),
  ]
}

/** The parameters by which a question is about a part of the users or of the time, by the departure that they are. */
const NARROWING: Partial<Record<Departure, string>> = {
  users: 'where',
  segment: 'segment_id',
  period: 'from and to',
  as_of: 'as_of',
}

/** Events that were received after `dataThrough` are not counted yet: they may be the first ones. */
function nobodyWarning({ dataThrough, state, question }: RunStatistics): string {
  const narrowing = question.departs.flatMap((departure) => NARROWING[departure] ?? [])
  const isPart = narrowing.length > 0
  const nobody = isPart ? 'No user whom this question is about has met a variant' : 'Nobody has met a variant yet'
  const rest = isPart ? ` Ask without ${narrowing.join(', ')} for the others.` : ''
  return dataThrough === null || state === 'frozen'
    ? `${nobody}.${rest}`
    : `${nobody}, or they are not counted yet: what was received after data_through is missing.${rest}`
}

const disabledWarnings = ({ variants }: RunStatistics): string[] =>
  variants
    .filter(({ enabled, isControl }) => !enabled && !isControl)
    .map(
      ({ variantName }) =>
        `Variant ${variantName} is switched off: its figures stay, and it takes no part in the decision.`,
    )
function beforeStartWarnings({ eventsBeforeStart: events, run }: RunStatistics): string[] {
  if (events === 0) return []
  const named = events === 1 ? '1 event names a variant' : `${formatCount(events)} events name a variant`
  const when = run === null ? 'before the experiment has started' : 'at a time before the run began'
  return [
    `Not counted: ${named} ${when}. To take over an experiment that was decided elsewhere, give started_at at its start.`,
  ]
}

/** @param exposed users who met a variant, excluded or not */
function userWarnings(statistics: RunStatistics, exposed: number): string[] {
  const count = (countOf: (row: UnitCounts) => number) => sum(statistics.units.map(countOf))
  const warnings: string[] = []
  const crossovers = count((row) => row.crossovers) / exposed
  if (crossovers > NOTABLE_SHARE) warnings.push(crossoverWarning(statistics, crossovers))
  const claimedOther = count((row) => row.claimedOther) / exposed
  if (claimedOther > NOTABLE_SHARE)
    warnings.push(
      `Events of ${formatPercent(claimedOther)} of the users name another variant than they were given: the application may show what it decided itself.`,
    )
  const externallyDecided = count((row) => row.externallyDecided)
  if (externallyDecided > 0)
    warnings.push(
      `The ${externallyDecided === 1 ? 'variant of 1 user was' : `variants of ${formatUsers(externallyDecided)} were`} decided by the application, not drawn here: whether they are comparable cannot be tested.`,
    )
  return warnings
}

/**
 * Writes what is made of crossovers. Of people who are drawn twice, 1 - w cross over from a variant of share w. So
 * leaving them out takes more users from the variants of small shares, and the users who stay are not comparable.
 */
function crossoverWarning({ periods, question }: RunStatistics, crossovers: number): string {
  const met = `${formatPercent(crossovers)} of the users met two variants`
  const look = 'look for users who are known by several ids'
  if (question.crossovers === 'first')
    return `${met} and are counted under the first: ${look}, and compare with crossovers=exclude.`
  const isUnequal = periods.some(({ shares }) => new Set(Object.values(shares).filter((share) => share > 0)).size > 1)
  return isUnequal
    ? `${met} and are left out, more of them from the variants of small shares, which biases comparisons: ${look}, and decide by crossovers=first.`
    : `${met} and are left out: ${look}, and compare with crossovers=first.`
}

function periodWarnings(statistics: RunStatistics): string[] {
  const { periods } = statistics
  if (periods.length <= 1) return []
  const warnings = [
    `The allocation changed during the run: comparisons are stratified by its ${periods.length} periods.`,
  ]
  const pooled = statistics.metrics
    .filter((metric) => metric.kind === 'quantile' && metric.strata.length === 0 && metric.quantiles.length > 0)
    .map(({ name }) => name)
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

function metricWarnings({ metrics }: RunStatistics, result: MetricResult): string[] {
  const { key, name, comparisons } = result
  const metric = metrics.find((one) => one.key === key)
  const reasons = [...new Set(comparisons.flatMap(({ reason }) => reason ?? []))]
  return [...(metric ? valueWarnings(metric, result) : []), ...reasons.map((reason) => `${name}: ${sentence(reason)}`)]
}

/** Warns of variants that differed before exposure, which no treatment explains. */
export const balanceWarnings = ({ name, comparisons }: MetricResult): string[] =>
  comparisons.flatMap(({ balance, variantName, difference, cuped }) => {
    if (!balance || !(balance.pValue < NOTABLE_IMBALANCE)) return []
    const now = cuped ? ` Adjusted by it, the difference is ${formatFigure(difference ?? 0)}` : ''
    const before = cuped ? `, without ${formatFigure(cuped.unadjusted.difference ?? 0)}.` : ''
    return [
      `${name} differed between ${variantName} and the control already before exposure, by ${formatFigure(balance.difference)} (${formatPEquation(balance.pValue)}), which no treatment explains. Before you decide, find out whether every variant reports exposures alike, and whether an earlier test still acts on these users.${now}${before}`,
    ]
  })

const computingWarnings = (metrics: readonly MetricResult[]): string[] =>
  metrics
    .filter(({ status }) => status === 'computing')
    .map(({ key }) => `Metric ${key} is being computed from what was recorded before; it is left out until then.`)

function methodWarnings({ question, hasEnded, looks }: RunStatistics): string[] {
  const warnings: string[] = []
  const isRead = looks.some(({ planned }) => planned !== null)
  if (question.method === 'bayesian' && question.plannedUsers === null)
    warnings.push('Probabilities do not protect against stopping as soon as one likes them: plan a number of users.')
  if (question.method === 'fixed' && question.plannedUsers === null && hasEnded)
    warnings.push(
      'No users were planned: a run that is ended because its figures please finds differences that do not exist. ' +
        'Plan a number of users.',
    )
  if (question.method === 'fixed' && !hasEnded && !isRead)
    warnings.push(
      'A fixed analysis is right once, at its planned end: looking earlier and stopping on what is seen raises false alarms.',
    )
  return warnings
}
