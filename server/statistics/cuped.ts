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
  return { theta, variants: adjusted.map(({ shown }) => shown), comparisons }
}

/**
 * Estimates theta, the CUPED coefficient of the covariate, from all variants together.
 * @returns units of y per unit of x; 0 if the covariate does not vary
 * @see Deng, Xu, Kohavi, Walker (2013), WSDM; docs/comparisons.md, "CUPED"
 */
export function pooledTheta(variants: readonly CovariateSums[], method: ThetaMethod = 'within'): number {
  const samples = method === 'total' ? [mergeRows(FIELDS, variants)] : variants
  let joint = 0
  let spread = 0
  for (const sums of samples) {
    if (sums.n < 2) continue
    joint += (sums.n - 1) * (covariance(sums) ?? 0)
    spread += (sums.n - 1) * (variance({ n: sums.n, sum: sums.sumX, sumSq: sums.sumSqX }) ?? 0)
  }
  const theta = joint / spread
  return Number.isFinite(theta) ? theta : 0
}

type Adjusted = { sums: CovariateSums; shown: AdjustedMean; covariance: number }

function adjust(sums: CovariateSums, theta: number, covariateMean: number): Adjusted {
  const { n } = sums
  const level = mean({ n, sum: sums.sumY })
  const spread = variance({ n, sum: sums.sumY, sumSq: sums.sumSqY })
  const ofCovariate = variance({ n, sum: sums.sumX, sumSq: sums.sumSqX }) ?? 0
  const joint = covariance(sums) ?? 0
  const adjustedVariance = spread === null ? null : Math.max(0, spread - 2 * theta * joint + theta ** 2 * ofCovariate)
  const shown = {
    mean: level,
    adjustedMean: level === null ? null : level - theta * (sums.sumX / n - covariateMean),
    variance: spread,
    adjustedVariance,
    varianceReduction:
      spread === null || adjustedVariance === null || spread === 0 ? null : 1 - adjustedVariance / spread,
  }
  return { sums, shown, covariance: joint }
}

function compareAdjusted(control: Adjusted, treatment: Adjusted, theta: number, confidenceLevel: number): Comparison {
  const levels = [control.shown.adjustedMean, treatment.shown.adjustedMean] as const
  if (levels[0] === null || levels[1] === null) return undefinedComparison('no_data', ...levels)
  const parts = [control, treatment].map(({ sums, shown }) => ({
    n: sums.n,
    variance: shown.adjustedVariance === null ? null : shown.adjustedVariance / sums.n,
  }))
  const [one, other] = parts.map(({ variance }) => variance)
  const unadjusted = control.shown.variance
  if (one == null || other == null || unadjusted === null) return undefinedComparison('insufficient_data', ...levels)
  const { n } = control.sums
  return compareEffect(
    {
      difference: levels[1] - levels[0],
      varianceOfDifference: one + other,
      control: control.shown.mean as number,
      varianceOfControl: unadjusted / n,
      covariance: -(unadjusted - theta * control.covariance) / n,
      degreesOfFreedom: welchDegreesOfFreedom([
        { n, variance: one },
        { n: treatment.sums.n, variance: other },
      ]),
    },
    confidenceLevel,
    levels[1],
  )
}
