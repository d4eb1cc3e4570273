import { type Comparison, criticalT } from '../statistics/comparison.ts'
import { pooledTheta } from '../statistics/cuped.ts'
import { cupedRatios } from '../statistics/cuped-ratio.ts'
import { mean, variance } from '../statistics/moments.ts'
import { type StratifiedComparison, stratifiedTest } from '../statistics/periods.ts'
import { stratifiedCuped } from '../statistics/periods-cuped.ts'
import { compareRates, type RateStratum } from '../statistics/periods-rates.ts'
import { stratifiedRatio } from '../statistics/periods-ratio.ts'
import { type Proportion, wilsonInterval } from '../statistics/proportion.ts'
import { quantileError, quantileTest, stratifiedQuantiles } from '../statistics/quantile.ts'
import { ratioLevel } from '../statistics/ratio.ts'
import {
  type Cell,
  type CellOf,
  covariateSums,
  meanSums,
  meanSumsBefore,
  rateSums,
  rateSumsBefore,
  ratioCovariateSums,
  ratioSums,
  ratioSumsBefore,
  sumPeriods,
} from './cells.ts'
import { type Support, supportOf } from './gate.ts'
import type { Bounds } from './metric-result.ts'
import type {
  Kind,
  MetricStatistics,
  QuantileMetric,
  QuantileSums,
  RunStatistics,
  SummedMetric,
  Variant,
} from './statistics.ts'

/** Defines the analysis of each kind of metric: one record per kind holds all that differs between kinds. */

export type Data<Metric> = { statistics: RunStatistics; metric: Metric; cellOf: CellOf }

/**
 * The level of a variant over all its users, neither adjusted by a covariate nor stratified by periods, and the
 * variance of the level.
 */
type PlainLevel = { level: number; variance: number | null; degreesOfFreedom: number }

/**
 * The coefficient of the covariate. `comparisons` are the adjusted comparisons of the treatments, in order, where the
 * test computes all at once; null where `compare` computes each.
 */
type Adjustment = { theta: number; comparisons: readonly Comparison[] | null }

export type Compared = {
  comparison: Comparison
  periodsUsed: number
  usersLeftOut: number
  /** The counts of control and treatment where the score test compares two rates of one period; else null. */
  rates: readonly [Proportion, Proportion] | null
  /** The counts of a rate by period; null for other kinds. */
  strata: readonly RateStratum[] | null
  /** The p-value is that of an exact test, because an expected count is below 5. */
  isSmall: boolean
}

/**
 * A comparison of one treatment, as the methods of analysis take it. `users` are those of both variants, `immature` those
 * among them whose window is not over.
 */
export type Contrast = Compared & { isRate: boolean; users: number; immature: number }

type KindStrategy<Metric> = {
  /** A covariate adjusts runs of several allocation periods, too; otherwise only runs of one period. */
  adjustsOverPeriods: boolean
  /** The value of a user is 0 or 1. */
  isRate: boolean
  /** @param cell the sums over all periods of the variant */
  levelOf: (data: Data<Metric>, cell: Cell, variantId: number) => PlainLevel | null
  intervalOf: (level: PlainLevel, cell: Cell, confidenceLevel: number) => Bounds | null
  /** @returns null where no covariate adjusts the metric */
  adjustmentOf: (data: Data<Metric>) => Adjustment | null
  /** @param index the treatment's index among the treatments: the control is not counted */
  compare: (data: Data<Metric>, index: number, adjustment: Adjustment | null) => Compared
  /** Counts the users and events that the comparison rests on. */
  supportOf: (data: Data<Metric>, index: number) => Support
  /** Compares the values before exposure. @returns null where the kind has none */
  compareBefore: (data: Data<Metric>, index: number) => Comparison | null
}

/** All comparisons guard against variants with few events. */
const RULE = 'at_least_pooled'

const comparedBy = ({ periodsUsed, usersLeftOut, ...comparison }: StratifiedComparison): Compared => ({
  comparison,
  periodsUsed,
  usersLeftOut,
  rates: null,
  strata: null,
  isSmall: false,
})

const supportBySums = ({ statistics, metric, cellOf }: Data<SummedMetric>, index: number) =>
  supportOf(statistics, cellOf, pairOf(statistics, index), metric.kind)

const meanStrategy: KindStrategy<SummedMetric> = {
  adjustsOverPeriods: true,
  isRate: false,
  levelOf(_data, cell) {
    const level = mean(meanSums(cell))
    if (level === null) return null
    const spread = variance(meanSums(cell))
    return { level, variance: spread === null ? null : spread / cell.n, degreesOfFreedom: cell.n - 1 }
  },
  intervalOf: studentInterval,
  adjustmentOf({ statistics: { variants, periods }, metric, cellOf }) {
    if (!metric.hasCovariate) return null
    const theta = pooledTheta(
      periods.flatMap(({ period }) => variants.map(({ variantId }) => covariateSums(cellOf(variantId, period)))),
    )
    return theta === 0 ? null : { theta, comparisons: null }
  },
  compare(data, index, adjustment) {
    const { confidenceLevel } = data.statistics.question
    return comparedBy(
      adjustment
        ? stratifiedCuped(strataOf(data, index, covariateSums), confidenceLevel, adjustment.theta, RULE)
        : stratifiedTest(strataOf(data, index, meanSums), confidenceLevel, RULE),
    )
  },
  supportOf: supportBySums,
  compareBefore: (data, index) =>
    stratifiedTest(strataOf(data, index, meanSumsBefore), data.statistics.question.confidenceLevel, RULE),
}

const rateStrategy: KindStrategy<SummedMetric> = {
  ...meanStrategy,
  isRate: true,
  intervalOf(_level, cell, confidenceLevel) {
    const [lower, upper] = wilsonInterval(rateSums(cell), confidenceLevel)
    return { lower, upper }
  },
  compare(data, index, adjustment) {
    const strata = strataOf(data, index, rateSums)
    if (adjustment) return { ...meanStrategy.compare(data, index, adjustment), strata }
    const { isSmall, ...comparison } = compareRates(strata, data.statistics.question.confidenceLevel)
    const [only, another] = strata
    return {
      ...comparedBy(comparison),
      isSmall,
      strata,
      rates: only && !another ? [only.control, only.treatment] : null,
    }
  },
  compareBefore: (data, index) =>
    compareRates(strataOf(data, index, rateSumsBefore), data.statistics.question.confidenceLevel),
}

const ratioStrategy: KindStrategy<SummedMetric> = {
  adjustsOverPeriods: false,
  isRate: false,
  levelOf(_data, cell) {
    const level = ratioLevel(ratioSums(cell))
    return typeof level === 'string' ? null : { ...level, degreesOfFreedom: cell.n - 1 }
  },
  intervalOf: studentInterval,
  adjustmentOf({ statistics, metric, cellOf }) {
    const { variants, periods, question } = statistics
    if (!metric.hasCovariate || periods.length > 1) return null
    const { adjusted, theta, comparisons } = cupedRatios(
      variants.map(({ variantId }) => ratioCovariateSums(sumPeriods(statistics, cellOf, variantId))),
      question.confidenceLevel,
      RULE,
    )
    return adjusted && theta !== 0 ? { theta, comparisons } : null
  },
  compare(data, index, adjustment) {
    const plain = comparedBy(
      stratifiedRatio(strataOf(data, index, ratioSums), data.statistics.question.confidenceLevel, RULE),
    )
    return { ...plain, comparison: adjustment?.comparisons?.[index] ?? plain.comparison }
  },
  supportOf: supportBySums,
  compareBefore: (data, index) =>
    stratifiedRatio(strataOf(data, index, ratioSumsBefore), data.statistics.question.confidenceLevel, RULE),
}

/** Stratifies a comparison of quantiles. Users of the two variants in a period that is not used are left out. */
function compareOverPeriods({ statistics, metric, cellOf }: Data<QuantileMetric>, index: number): Compared {
  const pair = pairOf(statistics, index)
  const usersIn = (variants: readonly Variant[], period: number) =>
    variants.reduce((sum, { variantId }) => sum + cellOf(variantId, period).n, 0)
  const strata = statistics.periods.map(({ period }) => {
    const [control, treatment] = pair.map(
      ({ variantId }) => metric.strata.find((row) => row.variantId === variantId && row.period === period) ?? null,
    ) as [QuantileSums | null, QuantileSums | null]
    return { users: usersIn(statistics.variants, period), control, treatment }
  })
  const { confidenceLevel } = statistics.question
  const { isUsed, ...comparison } = stratifiedQuantiles(strata, metric.quantile, confidenceLevel, RULE)
  const left = statistics.periods.filter((_, at) => !isUsed[at])
  return {
    comparison,
    periodsUsed: strata.length - left.length,
    usersLeftOut: left.reduce((sum, { period }) => sum + usersIn(pair, period), 0),
    rates: null,
    strata: null,
    isSmall: false,
  }
}

const quantileStrategy: KindStrategy<QuantileMetric> = {
  adjustsOverPeriods: false,
  isRate: false,
  levelOf({ statistics, metric }, _cell, variantId) {
    const summary = quantileOf(metric, variantId)
    if (!summary) return null
    const error = quantileError(summary, metric.quantile, statistics.question.confidenceLevel)
    return { level: summary.quantile, variance: error && error.standardError ** 2, degreesOfFreedom: Infinity }
  },
  intervalOf: studentInterval,
  adjustmentOf: () => null,
  compare(data, index) {
    const { statistics, metric } = data
    const { confidenceLevel } = statistics.question
    if (statistics.periods.length > 1 && metric.strata.length > 0) return compareOverPeriods(data, index)
    const [control, treatment] = pairOf(statistics, index)
    const pair = [quantileOf(metric, control.variantId), quantileOf(metric, treatment.variantId)] as const
    const comparison = quantileTest(...pair, metric.quantile, confidenceLevel, RULE)
    return { comparison, periodsUsed: 1, usersLeftOut: 0, rates: null, strata: null, isSmall: false }
  },
  supportOf({ statistics, metric }, index) {
    const [control, treatment] = pairOf(statistics, index).map(
      ({ variantId }) => quantileOf(metric, variantId)?.clusters ?? 0,
    ) as [number, number]
    return { users: { control, treatment }, events: null }
  },
  compareBefore: () => null,
}

type MetricOf<K extends Kind> = K extends QuantileMetric['kind'] ? QuantileMetric : SummedMetric

export const KINDS = {
  proportion: rateStrategy,
  mean: meanStrategy,
  ratio: ratioStrategy,
  quantile: quantileStrategy,
} satisfies { [K in Kind]: KindStrategy<MetricOf<K>> }

/**
 * Returns the strategy of a metric's kind. The cast is needed because TypeScript does not relate an indexed entry of
 * the record to the type of the metric.
 */
export const strategyOf = <Metric extends MetricStatistics>(metric: Metric) =>
  KINDS[metric.kind] as unknown as KindStrategy<Metric>

function studentInterval({ level, variance, degreesOfFreedom }: PlainLevel, _cell: Cell, confidenceLevel: number) {
  if (variance === null) return null
  const spread = criticalT(confidenceLevel, degreesOfFreedom) * Math.sqrt(variance)
  return { lower: level - spread, upper: level + spread }
}

const pairOf = ({ variants }: RunStatistics, index: number) => [variants[0], variants[index + 1]] as [Variant, Variant]

/** Returns for each allocation period the users of all variants, and the sums of the two compared variants. */
function strataOf<Sums>({ statistics, cellOf }: Data<unknown>, index: number, sumsOf: (cell: Cell) => Sums) {
  const [control, treatment] = pairOf(statistics, index)
  return statistics.periods.map(({ period }) => ({
    users: statistics.variants.reduce((sum, { variantId }) => sum + cellOf(variantId, period).n, 0),
    control: sumsOf(cellOf(control.variantId, period)),
    treatment: sumsOf(cellOf(treatment.variantId, period)),
  }))
}

const quantileOf = ({ quantiles }: QuantileMetric, variantId: number) =>
  quantiles.find((row) => row.variantId === variantId) ?? null
