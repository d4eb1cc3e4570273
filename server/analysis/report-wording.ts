import { formatCount } from './format-figures.ts'
import type { MetricComparison, MetricResult } from './metric-result.ts'
import type { SharedUsers } from './report-ratios.ts'

/**
 * Words the sentences of an analysis for readers: with the look that decided, the users who are awaited, separated
 * thousands, and bounds that are rounded alike.
 */

const EMPTY = 'A variant has no users yet'

/** Says why figures are missing: of a metric with a window, that nobody's window is over. */
export function reasonOf({ variants }: Pick<MetricResult, 'variants'>, comparison: MetricComparison): string | null {
  const { status, reason, variantId } = comparison
  const open = variants.filter(
    (level, index) => (index === 0 || level.variantId === variantId) && level.users === 0 && level.immature > 0,
  )
  if (status !== 'no_data' || open.length === 0) return reason
  const names = open.map(({ variantName, immature }) => `${variantName} (${formatCount(immature)})`)
  return `the windows of all users in ${names.join(' and ')} are not over yet`
}

/** Makes a function that words a sentence of the analysis, with the reasons that `reasonOf` gives. */
export function rewording(metrics: readonly MetricResult[]): (text: string) => string {
  const awaited = metrics.flatMap((metric) =>
    metric.comparisons.flatMap((comparison) => {
      const reason = reasonOf(metric, comparison)
      return comparison.reason === EMPTY && reason !== EMPTY
        ? [`${metric.name}: `, ` in ${comparison.variantName}: `].map((clause) => ({
            name: metric.name,
            before: clause + EMPTY,
            now: clause + reason,
          }))
        : []
    }),
  )
  return (text) => {
    const own = awaited.find(({ name, before }) => text.startsWith(name) && text.includes(before))
    return evenBounds(separated(own ? text.replace(own.before, () => own.now) : text))
  }
}

/** Separates the thousands of the counts with which a sentence begins, or which it gives in parentheses. */
const separated = (text: string): string =>
  text
    .replace(/^(The variants of |Not counted: )(\d+)/, (_, before, count) => before + formatCount(Number(count)))
    .replace(/\((\d+)( users in .*, )(\d+)(?= expected\))/, (_, users, between, expected) =>
      ['(', formatCount(Number(users)), between, formatCount(Number(expected))].join(''),
    )

const UPLIFTS = /([+-]?)(\d[\d,]*(?:\.\d+)?) % to ([+-]?)(\d[\d,]*(?:\.\d+)?)(?= %)/g
const POINTS = /([+-]?)(\d[\d,]*(?:\.\d+)?) to ([+-]?)(\d[\d,]*(?:\.\d+)?)(?= percentage points)/g

/**
 * Rounds both bounds of an interval alike: a bound near 0 has as many significant digits as the other one, and bounds
 * of uplifts have at most three.
 */
export const evenBounds = (text: string): string =>
  text
    .replace(UPLIFTS, (_, ...[sign, lower, other, upper]: string[]) => even(sign, lower, ' % to ', other, upper))
    .replace(POINTS, (_, ...[sign, lower, other, upper]: string[]) => even(sign, lower, ' to ', other, upper))

const MOST_DIGITS = 3
const digitsOf = (figure: string) => figure.replace(/[.,]/g, '').replace(/^0+/, '').length

function even(sign = '', lower = '', between = '', other = '', upper = ''): string {
  const round = (figure: string, beside: string) => {
    const most = figure.startsWith('0.') ? Math.max(2, digitsOf(beside)) : MOST_DIGITS
    const digits = Math.min(most, MOST_DIGITS)
    if (digitsOf(figure) <= digits) return figure
    const value = Number(figure.replaceAll(',', ''))
    return value >= 1000 ? formatCount(Number(value.toPrecision(digits))) : String(Number(value.toPrecision(digits)))
  }
  return `${sign}${round(lower, upper)}${between}${other}${round(upper, lower)}`
}

/**
 * Words a warning of an analysis: that of the sample ratio with formatted counts, that of looks by the look that
 * decided. A warning that the figures of now do not decide is left out where they are those of the look.
 */
export function rewordedWarning(
  warning: string,
  { shared, look }: { shared: readonly SharedUsers[]; look: { users: number; isOfNow: boolean } | null },
): string[] {
  if (look && warning.startsWith('The figures below are those of now.'))
    return look.isOfNow
      ? []
      : [
          `The verdicts rest on the look at ${formatCount(look.users)} users, whose figures the reasons give. The figures of now do not decide.`,
        ]
  const counts = /^(The (?:assigned|exposed) users deviate from the allocation: ).*(?=\. For a single look,)/
  return [warning.replace(counts, (_, before: string) => before + sharedText(shared))]
}

/** Writes "2,267 in control (2,139 expected), 2,010 in treatment (2,139 expected)". */
export const sharedText = (shared: readonly SharedUsers[]): string =>
  shared
    .map(
      ({ variantName, users, expected }) =>
        `${formatCount(users)} in ${variantName} (${formatCount(expected)} expected)`,
    )
    .join(', ')
