import {
  type Comparison,
  compareEffect,
  type Status,
  undefinedComparison,
  welchDegreesOfFreedom,
} from './comparison.ts'

/**
 * The sums of four variables over a variant's users. The variables are the numerator, the denominator, the numerator
 * before exposure and the denominator before exposure. `products[i][j]` is the sum of the products of variables i and
 * j.
 */
export type RatioCovariateSums = {
  n: number
  sums: readonly number[]
  products: readonly (readonly number[])[]
}

type AdjustedRatio = {
  ratio: number | null
  adjustedRatio: number | null
  standardError: number | null
  adjustedStandardError: number | null
  varianceReduction: number | null
}

type Vector = [number, number, number, number]

/**
 * The ratios of a variant after and before exposure, their gradients in the means of the four variables, and the
 * covariance matrix of the four variables.
 */
type Prepared = {
  sums: RatioCovariateSums
  ratio: number
  before: number
  post: Vector
  pre: Vector
  spread: number[][]
}

/**
 * Adjusts ratios by CUPED and compares each treatment with the control, the first variant. The covariate is the same
 * ratio before exposure. Uplifts refer to the unadjusted ratio of the control.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1
 * @returns figures in the unit of the ratio. If the denominator before exposure sums to 0 in a variant, `adjusted` is
 *   false, theta is 0, and all figures are those without a covariate
 * @see Deng, Xu, Kohavi, Walker (2013), WSDM; Deng, Knoblich, Lu (2018), KDD; docs/comparisons.md, "CUPED"
 */
export function cupedRatios(
  variants: readonly RatioCovariateSums[],
  confidenceLevel: number,
): { theta: number; adjusted: boolean; variants: AdjustedRatio[]; comparisons: Comparison[] } {
  const prepared = variants.map(prepare)
  const defined = prepared.filter((variant) => typeof variant !== 'string')
  const adjusted = variants.every(({ n, sums }) => n < 2 || sums[3] !== 0)
  const theta = adjusted ? coefficient(defined) : 0
  const before = total(variants, 2) / total(variants, 3)
  const results = prepared.map((variant) => (typeof variant === 'string' ? variant : adjust(variant, theta, before)))
  const [control] = results
  return {
    theta,
    adjusted,
    variants: results.map((result) => (typeof result === 'string' ? NOTHING : result.shown)),
    comparisons: results.slice(1).map((treatment) => compareAdjusted(control as Result, treatment, confidenceLevel)),
  }
}

const NOTHING: AdjustedRatio = {
  ratio: null,
  adjustedRatio: null,
  standardError: null,
  adjustedStandardError: null,
  varianceReduction: null,
}

type Undefined = Extract<Status, 'no_data' | 'insufficient_data' | 'zero_denominator'>

const total = (variants: readonly RatioCovariateSums[], place: number) =>
  variants.reduce((sum, { sums }) => sum + (sums[place] as number), 0)

function prepare(sums: RatioCovariateSums): Prepared | Undefined {
  const { n } = sums
  if (n === 0) return 'no_data'
  if (n === 1) return 'insufficient_data'
  const [m, d, mBefore, dBefore] = sums.sums.map((sum) => sum / n) as Vector
  if (d === 0) return 'zero_denominator'
  return {
    sums,
    ratio: m / d,
    before: dBefore === 0 ? 0 : mBefore / dBefore,
    post: [1 / d, -m / d / d, 0, 0],
    pre: dBefore === 0 ? [0, 0, 0, 0] : [0, 0, 1 / dBefore, -mBefore / dBefore / dBefore],
    spread: sums.products.map((row, i) =>
      row.map((product, j) => (product - ((sums.sums[i] as number) * (sums.sums[j] as number)) / n) / (n - 1)),
    ),
  }
}

/** Computes left' S right: the covariance of two linear forms of the four variables. */
function form(left: Vector, spread: number[][], right: Vector): number {
  let sum = 0
  for (const [i, a] of left.entries())
    for (const [j, b] of right.entries()) if (a !== 0 && b !== 0) sum += a * (spread[i]?.[j] as number) * b
  return sum
}

function coefficient(variants: readonly Prepared[]): number {
  let joint = 0
  let own = 0
  for (const { sums, post, pre, spread } of variants) {
    joint += (sums.n - 1) * form(post, spread, pre)
    own += (sums.n - 1) * form(pre, spread, pre)
  }
  const theta = joint / own
  return Number.isFinite(theta) ? theta : 0
}

type Result = {
  n: number
  shown: AdjustedRatio
  variance: number
  adjustedVariance: number
  /** Covariance of the adjusted and the unadjusted ratio. */
  covariance: number
}

function adjust({ sums, ratio, before, post, pre, spread }: Prepared, theta: number, beforeOfAll: number): Result {
  const { n } = sums
  const gradient = post.map((value, place) => value - theta * (pre[place] as number)) as Vector
  const variance = Math.max(0, form(post, spread, post)) / n
  const adjustedVariance = Math.max(0, form(gradient, spread, gradient)) / n
  return {
    n,
    variance,
    adjustedVariance,
    covariance: form(gradient, spread, post) / n,
    shown: {
      ratio,
      adjustedRatio: theta === 0 ? ratio : ratio - theta * (before - beforeOfAll),
      standardError: Math.sqrt(variance),
      adjustedStandardError: Math.sqrt(adjustedVariance),
      varianceReduction: variance === 0 ? null : 1 - adjustedVariance / variance,
    },
  }
}

function compareAdjusted(
  control: Result | Undefined,
  treatment: Result | Undefined,
  confidenceLevel: number,
): Comparison {
  for (const status of ['no_data', 'insufficient_data', 'zero_denominator'] as const)
    if (control === status || treatment === status) return undefinedComparison(status)
  const [one, other] = [control, treatment] as [Result, Result]
  const level = other.shown.adjustedRatio as number
  return compareEffect(
    {
      difference: level - (one.shown.adjustedRatio as number),
      varianceOfDifference: one.adjustedVariance + other.adjustedVariance,
      control: one.shown.ratio as number,
      varianceOfControl: one.variance,
      covariance: -one.covariance,
      degreesOfFreedom: welchDegreesOfFreedom([
        { n: one.n, variance: one.adjustedVariance },
        { n: other.n, variance: other.adjustedVariance },
      ]),
    },
    confidenceLevel,
    level,
  )
}
