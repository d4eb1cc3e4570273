import { type PeriodCounts, simpleResults } from '../statistics/simple-results.ts'
import { sum } from './counts.ts'
import { formatPEquation } from './format-figures.ts'
import type { CellKey, RunStatistics } from './statistics.ts'

/** Computes the documented fields of an answer: a fixed-horizon analysis of one event type. */

type Documented = Omit<ReturnType<typeof resultsOf>, 'disagreements'> & {
  /** The warnings that belong to these fields. */
  warnings: string[]
}

export function documented(statistics: RunStatistics): Documented {
  const { disagreements, ...results } = resultsOf(statistics)
  const { question } = statistics
  const periods = periodsOf(statistics).length
  return {
    ...results,
    warnings: [
      ...(periods > 1
        ? [
            `The conversion rates describe all users of a variant; p_value, relative_uplift and winner compare users ` +
              `within each of the ${periods} allocation periods, so that they need not agree with the rates.`,
          ]
        : []),
      ...disagreements.map(({ variantName, pValue, exactPValue }) => {
        const { conversionEventType, significanceThreshold: threshold } = question
        return (
          `${variantName} has too few ${conversionEventType} events for the z-test ` +
          `(${formatPEquation(pValue, threshold)}): the exact test gives ${formatPEquation(exactPValue, threshold)}, ` +
          `on the other side of ${threshold}. Go by exact_p_value, as the decision does.`
        )
      }),
    ],
  }
}

/** Variants are sorted by id, so that the control need not be the first. */
function resultsOf(statistics: RunStatistics) {
  const { variants, units, conversions, question } = statistics
  const sorted = variants.toSorted((one, other) => one.variantId - other.variantId)
  const countsIn = (variantId: number, isIn: (row: CellKey) => boolean = () => true) => {
    const isCounted = (row: CellKey) => row.variantId === variantId && isIn(row)
    return {
      exposed: sum(units.filter(isCounted).map(({ users }) => users)),
      converted: sum(conversions.filter(isCounted).map(({ users }) => users)),
    }
  }
  return simpleResults({
    variants: sorted.map(({ variantId, variantName, isControl }) => {
      const { exposed, converted } = countsIn(variantId)
      return {
        variant_id: variantId,
        variant_name: variantName,
        is_control: isControl,
        total_users: exposed,
        conversions: converted,
      }
    }),
    periods: periodsOf(statistics).map((period): PeriodCounts => {
      const counts = sorted.map(({ variantId }) => countsIn(variantId, (row) => row.period === period))
      return { users: sum(counts.map(({ exposed }) => exposed)), variants: counts }
    }),
    confidenceLevel: question.confidenceLevel,
    significanceThreshold: question.significanceThreshold,
    intervalMethod: question.intervalMethod,
  })
}

/**
 * Returns the allocation periods with users. Statistics of older formats do not tell the conversions of periods apart
 * (period 0), so that there is nothing to stratify.
 */
function periodsOf({ periods, units, conversions }: RunStatistics): number[] {
  if (conversions.some(({ period }) => period === 0)) return []
  return periods.flatMap(({ period }) => (units.some((row) => row.period === period && row.users > 0) ? [period] : []))
}
