import {
  type Comparison,
  compareEffect,
  type Status,
  undefinedComparison,
  welchDegreesOfFreedom,
} from './comparison.ts'
import { applyVarianceRule, type VarianceRule } from './pooled-variance.ts'

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
type RatioGradients = {
  sums: RatioCovariateSums
  ratio: number
  ratioBefore: number
  gradient: Vector
  gradientBefore: Vector
  covarianceMatrix: number[][]
}

/**
 * Adjusts ratios by CUPED and compares each treatment with the control, the first variant. The covariate is the same
 * ratio before exposure. Uplifts refer to the unadjusted ratio of the control.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1
 * @param rule how the variance of the difference is estimated
 * @returns figures in the unit of the ratio. If the denominator before exposure sums to 0 in a variant, `adjusted` is
 *   false, theta is 0, and all figures equal the unadjusted ones
 * @see Deng, Xu, Kohavi, Walker (2013), WSDM; Deng, Knoblich, Lu (2018), KDD; docs/comparisons.md, "CUPED"
 */
export function cupedRatios(
  variants: readonly RatioCovariateSums[],
  confidenceLevel: number,
  rule: VarianceRule = 'welch',
): { theta: number; adjusted: boolean; variants: AdjustedRatio[]; comparisons: Comparison[] } {
  const gradients = variants.map(gradientsOf)
  const defined = gradients.filter((variant) => typeof variant !== 'string')
  const adjusted = variants.every(({ n, sums }) => n < 2 || sums[3] !== 0)
  const theta = adjusted ? pooledTheta(defined) : 0
  const pooledRatioBefore = total(variants, 2) / total(variants, 3)
  const results = gradients.map((variant) =>
    typeof variant === 'string' ? variant : adjust(variant, theta, pooledRatioBefore),
  )
  const [control] = results
  return {
    theta,
    adjusted,
    variants: results.map((result) => (typeof result === 'string' ? UNDEFINED_RATIO : result.estimates)),
    comparisons: results
      .slice(1)
      .map((treatment) => compareAdjusted(control as AdjustedResult, treatment, confidenceLevel, rule)),
  }
}

const UNDEFINED_RATIO: AdjustedRatio = {
  ratio: null,
  adjustedRatio: null,
  standardError: null,
  adjustedStandardError: null,
  varianceReduction: null,
}

type UndefinedStatus = Extract<Status, 'no_data' | 'insufficient_data' | 'zero_denominator'>

const total = (variants: readonly RatioCovariateSums[], index: number) =>
  variants.reduce((sum, { sums }) => sum + (sums[index] as number), 0)

function gradientsOf(sums: RatioCovariateSums): RatioGradients | UndefinedStatus {
  const { n } = sums
  if (n === 0) return 'no_data'
  if (n === 1) return 'insufficient_data'
  const [m, d, mBefore, dBefore] = sums.sums.map((sum) => sum / n) as Vector
  if (d === 0) return 'zero_denominator'
  return {
    sums,
    ratio: m / d,
    ratioBefore: dBefore === 0 ? 0 : mBefore / dBefore,
    gradient: [1 / d, -m / d / d, 0, 0],
    gradientBefore: dBefore === 0 ? [0, 0, 0, 0] : [0, 0, 1 / dBefore, -mBefore / dBefore / dBefore],
    covarianceMatrix: sums.products.map((row, i) =>
      row.map((product, j) => (product - ((sums.sums[i] as number) * (sums.sums[j] as number)) / n) / (n - 1)),
    ),
  }
}

/** Computes left' S right: the covariance of two linear forms of the four variables. */
function bilinearForm(left: Vector, covarianceMatrix: number[][], right: Vector): number {
  let sum = 0
  for (const [i, a] of left.entries())
    for (const [j, b] of right.entries()) if (a !== 0 && b !== 0) sum += a * (covarianceMatrix[i]?.[j] as number) * b
  return sum
}

function pooledTheta(variants: readonly RatioGradients[]): number {
  let weightedCovariance = 0
  let weightedVariance = 0
  for (const { sums, gradient, gradientBefore, covarianceMatrix } of variants) {
    weightedCovariance += (sums.n - 1) * bilinearForm(gradient, covarianceMatrix, gradientBefore)
    weightedVariance += (sums.n - 1) * bilinearForm(gradientBefore, covarianceMatrix, gradientBefore)
  }
  const theta = weightedCovariance / weightedVariance
  return Number.isFinite(theta) ? theta : 0
}

type AdjustedResult = {
  n: number
  estimates: AdjustedRatio
  variance: number
  adjustedVariance: number
  /** Covariance of the adjusted and the unadjusted ratio. */
  covariance: number
}

function adjust(variant: RatioGradients, theta: number, pooledRatioBefore: number): AdjustedResult {
  const { ratio, ratioBefore, gradient, gradientBefore, covarianceMatrix } = variant
  const { n } = variant.sums
  const adjustedGradient = gradient.map((value, index) => value - theta * (gradientBefore[index] as number)) as Vector
  const variance = Math.max(0, bilinearForm(gradient, covarianceMatrix, gradient)) / n
  const adjustedVariance = Math.max(0, bilinearForm(adjustedGradient, covarianceMatrix, adjustedGradient)) / n
  return {
    n,
    variance,
    adjustedVariance,
    covariance: bilinearForm(adjustedGradient, covarianceMatrix, gradient) / n,
    estimates: {
      ratio,
      adjustedRatio: theta === 0 ? ratio : ratio - theta * (ratioBefore - pooledRatioBefore),
      standardError: Math.sqrt(variance),
      adjustedStandardError: Math.sqrt(adjustedVariance),
      varianceReduction: variance === 0 ? null : 1 - adjustedVariance / variance,
    },
  }
}

function compareAdjusted(
  control: AdjustedResult | UndefinedStatus,
  treatment: AdjustedResult | UndefinedStatus,
  confidenceLevel: number,
  rule: VarianceRule,
): Comparison {
  for (const status of ['no_data', 'insufficient_data', 'zero_denominator'] as const)
    if (control === status || treatment === status) return undefinedComparison(status)
  const [controlResult, treatmentResult] = [control, treatment] as [AdjustedResult, AdjustedResult]
  const level = treatmentResult.estimates.adjustedRatio as number
  const partOf = ({ n, adjustedVariance: variance }: AdjustedResult) => [{ n, variance }]
  const parts = [partOf(controlResult), partOf(treatmentResult)] as const
  const effect = {
    difference: level - (controlResult.estimates.adjustedRatio as number),
    varianceOfDifference: controlResult.adjustedVariance + treatmentResult.adjustedVariance,
    control: controlResult.estimates.ratio as number,
    varianceOfControl: controlResult.variance,
    covariance: -controlResult.covariance,
    degreesOfFreedom: welchDegreesOfFreedom(parts.flat()),
  }
  return compareEffect(applyVarianceRule(effect, rule, parts), confidenceLevel, level)
}
