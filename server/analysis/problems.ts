import { sum, usersOf } from './counts.ts'
import { formatCount, formatPEquation, formatPercent, formatUsers } from './format-figures.ts'
import type { MetricResult } from './metric-result.ts'
import { type RatioCheck, type SampleRatios, sharedText } from './sample-ratios.ts'
import type { RunStatistics } from './statistics.ts'

/** Finds the faults for which the data of a run cannot be trusted. */

/** The expected users at which a variant without any is a fault: by chance it would be one in 500 million. */
const EXPECTED_USERS = 20

/** The share of exposed users above which a data problem is reported. */
export const NOTABLE_SHARE = 0.01

/** Lists the faults for which the data cannot be trusted. Each one blocks the decision. */
export function findProblems(
  statistics: RunStatistics,
  ratios: SampleRatios,
  metrics: readonly MetricResult[],
): string[] {
  const users = usersOf(statistics)
  const total = sum(users.map(({ count }) => count))
  const problems: string[] = []
  if (ratios.assigned.isMismatch) problems.push(mismatch('assigned', ratios.assigned, ratios))
  else if (ratios.exposed.isMismatch) problems.push(mismatch('exposed', ratios.exposed, ratios))
  if (ratios.exclusions.isMismatch)
    problems.push(
      `users are left out of the variants at different rates (${formatPEquation(ratios.exclusions.pValue)}), which biases every comparison`,
    )
  const shares = statistics.periods.at(-1)?.shares ?? {}
  for (const { variantId, variantName, isControl, enabled } of statistics.variants) {
    const count = users.find((row) => row.variantId === variantId)?.count ?? 0
    if (!enabled && isControl)
      problems.push(`the control is disabled: nobody new gets ${variantName}, so that nothing can be compared with it`)
    else if (count === 0 && (total * (shares[variantId] ?? 0)) / sum(Object.values(shares)) >= EXPECTED_USERS)
      problems.push(`variant ${variantName} has a share and no users`)
  }
  for (const metric of metrics.filter(({ role }) => role === 'primary')) {
    const own = statistics.metrics.find(({ key }) => key === metric.key)
    const exposing = own && own.kind !== 'quantile' ? sum(own.sums.map((row) => row.exposing)) : 0
    if (total > 0 && exposing / total > NOTABLE_SHARE)
      problems.push(
        `${formatPercent(exposing / total)} of the users were first exposed by an event that ${metric.name} measures: users without such an event are missing (survivorship); report every exposure`,
      )
  }
  return problems
}

/** Says "sample ratio mismatch of the assigned users: 2,267 in control (2,139 expected), …; p < 0.0001". */
function mismatch(what: string, check: RatioCheck, { causes }: SampleRatios): string {
  const p = check.sequentialPValue ?? check.pValue
  const cause = causes[0]
  const named = cause
    ? `; it lies with ${cause.by} ${cause.value} (${worst(cause)})${cause.explainsAll ? ', without which the rest agrees' : ''}`
    : ''
  const fault =
    check.status === 'unexpected_variant'
      ? 'a variant without a share has users'
      : formatPEquation(Math.min(p, check.pValue))
  return `sample ratio mismatch of the ${what} users: ${sharedText(check.variants)}; ${fault}${named}`
}

/** Names the variant that lacks the most users, with the observed and the expected number. */
function worst({ variants }: SampleRatios['causes'][number]): string {
  const off = variants.toSorted((one, other) => one.users - one.expected - (other.users - other.expected))[0]
  return off ? `${formatUsers(off.users)} in ${off.variantName}, ${formatCount(off.expected)} expected` : ''
}
