import { type Comparison, compareEffect, undefinedComparison, welchDegreesOfFreedom } from './comparison.ts'
import { covariance, mean, mergeRows, variance } from './moments.ts'

/** The sums of the metric (y) and of the same metric before exposure (x) over a variant's users. */
export type CovariateSums = { n: number; sumY: number; sumSqY: number; sumX: number; sumSqX: number; sumXY: number }

/**
 * `within` pools the covariances within the variants. `total` treats all users as one sample, which an effect of the
 * treatment biases slightly.
 */
export type ThetaMethod = 'within' | 'total'

/** The mean of a variant before and after the adjustment. Undefined figures are null. */
type AdjustedMean = {
  mean: number | null
  adjustedMean: number | null
  variance: number | null
  adjustedVariance: number | null
  /** Share of the variance that the covariate explains. The share can be negative in a single variant. */
  varianceReduction: number | null
}

const FIELDS = ['n', 'sumY', 'sumSqY', 'sumX', 'sumSqX', 'sumXY'] as const

/**
 * Adjusts means by CUPED and compares each treatment with the control, the first variant. One coefficient theta serves
 * all comparisons of an experiment. Uplifts refer to the unadjusted mean of the control.
 * @param variants sums over all users; a user without a history has x = 0
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1
 * @returns figures in the unit of the metric. If the covariate does not vary, theta is 0 and the comparisons are
 *   Welch's test
 * @see Deng, Xu, Kohavi, Walker (2013), WSDM; docs/comparisons.md, "CUPED"
 */
export function cupedMeans(
  variants: readonly CovariateSums[],
  confidenceLevel: number,
  method: ThetaMethod = 'within',
): { theta: number; variants: AdjustedMean[]; comparisons: Comparison[] } {
  const theta = pooledTheta(variants, method)
  const all = mergeRows(FIELDS, variants)
  const covariateMean = all.n === 0 ? 0 : all.sumX / all.n
  const adjusted = variants.map((sums) => adjust(sums, theta, covariateMean))
  const [control] = adjusted
  const comparisons = adjusted
    .slice(1)
    .map((treatment) => compareAdjusted(control as Adjusted, treatment, theta, confidenceLevel))
  return { theta, variants: adjusted.map(({ estimates }) => estimates), comparisons }
}

/**
 * Estimates theta, the CUPED coefficient of the covariate, from all variants together.
 * @returns units of y per unit of x; 0 if the covariate does not vary
 * @see Deng, Xu, Kohavi, Walker (2013), WSDM; docs/comparisons.md, "CUPED"
 */
export function pooledTheta(variants: readonly CovariateSums[], method: ThetaMethod = 'within'): number {
  const samples = method === 'total' ? [mergeRows(FIELDS, variants)] : variants
  let weightedCovariance = 0
  let weightedVariance = 0
  for (const sums of samples) {
    if (sums.n < 2) continue
    weightedCovariance += (sums.n - 1) * (covariance(sums) ?? 0)
    weightedVariance += (sums.n - 1) * (variance({ n: sums.n, sum: sums.sumX, sumSq: sums.sumSqX }) ?? 0)
  }
  const theta = weightedCovariance / weightedVariance
  return Number.isFinite(theta) ? theta : 0
}

type Adjusted = { sums: CovariateSums; estimates: AdjustedMean; covariance: number }

function adjust(sums: CovariateSums, theta: number, covariateMean: number): Adjusted {
  const { n } = sums
  const unadjustedMean = mean({ n, sum: sums.sumY })
  const unadjustedVariance = variance({ n, sum: sums.sumY, sumSq: sums.sumSqY })
  const covariateVariance = variance({ n, sum: sums.sumX, sumSq: sums.sumSqX }) ?? 0
  const covarianceXY = covariance(sums) ?? 0
  const adjustedVariance =
    unadjustedVariance === null
      ? null
      : Math.max(0, unadjustedVariance - 2 * theta * covarianceXY + theta ** 2 * covariateVariance)
  const estimates = {
    mean: unadjustedMean,
    adjustedMean: unadjustedMean === null ? null : unadjustedMean - theta * (sums.sumX / n - covariateMean),
    variance: unadjustedVariance,
    adjustedVariance,
    varianceReduction:
      unadjustedVariance === null || adjustedVariance === null || unadjustedVariance === 0
        ? null
        : 1 - adjustedVariance / unadjustedVariance,
  }
  return { sums, estimates, covariance: covarianceXY }
}

function compareAdjusted(control: Adjusted, treatment: Adjusted, theta: number, confidenceLevel: number): Comparison {
  const levels = [control.estimates.adjustedMean, treatment.estimates.adjustedMean] as const
  if (levels[0] === null || levels[1] === null) return undefinedComparison('no_data', ...levels)
  const parts = [control, treatment].map(({ sums, estimates }) => ({
    n: sums.n,
    variance: estimates.adjustedVariance === null ? null : estimates.adjustedVariance / sums.n,
  }))
  const [controlVariance, treatmentVariance] = parts.map(({ variance }) => variance)
  const unadjustedVariance = control.estimates.variance
  if (controlVariance == null || treatmentVariance == null || unadjustedVariance === null)
    return undefinedComparison('insufficient_data', ...levels)
  const { n } = control.sums
  return compareEffect(
    {
      difference: levels[1] - levels[0],
      varianceOfDifference: controlVariance + treatmentVariance,
      control: control.estimates.mean as number,
      varianceOfControl: unadjustedVariance / n,
      covariance: -(unadjustedVariance - theta * control.covariance) / n,
      degreesOfFreedom: welchDegreesOfFreedom([
        { n, variance: controlVariance },
        { n: treatment.sums.n, variance: treatmentVariance },
      ]),
    },
    confidenceLevel,
    levels[1],
  )
}
