import type { Comparison, Level } from '../statistics/comparison.ts'
import {
  distanceToMargin,
  guardrailVerdict,
  nonInferiority,
  nonInferiorityOfEffect,
} from '../statistics/non-inferiority.ts'
import { confidenceSequence } from '../statistics/sequential.ts'
import { LEAST_USERS, type MetricComparison, type MetricLevel } from './metric-result.ts'
import type { MetricStatistics, RunStatistics } from './statistics.ts'

/**
 * Judges a guardrail by the method of the analysis. The guardrail fails if the treatment is significantly worse, passes
 * if the treatment is shown to be worse by less than the margin (non-inferiority), and is inconclusive otherwise.
 * @param plain levels of control and treatment, if neither adjusted by a covariate nor stratified by periods; else null
 * @param n users of both variants
 * @returns `bound` in the unit of the metric; null where it is undefined
 */
export function guard(
  { margin, direction }: MetricStatistics,
  { effect, test }: Comparison,
  plain: readonly [MetricLevel, MetricLevel] | null,
  n: number,
  { method, confidenceLevel, tuning }: RunStatistics['question'],
): MetricComparison['guardrail'] {
  const open = { ...OPEN }
  if (!effect || !test) return open
  const isWorse = direction === 'increase' ? effect.difference < 0 : effect.difference > 0
  const alpha = 1 - confidenceLevel
  if (method !== 'sequential') {
    const [control, treatment] = (plain ?? []).map(asLevel)
    const nonInferior =
      control && treatment
        ? nonInferiority(control, treatment, margin, direction, confidenceLevel)
        : nonInferiorityOfEffect(effect, margin, direction, confidenceLevel)
    const verdict = guardrailVerdict(isWorse && test.pValue < alpha, nonInferior?.isNonInferior ?? false)
    return {
      ...OPEN,
      verdict,
      isNonInferior: nonInferior?.isNonInferior ?? false,
      pValue: nonInferior?.pValue ?? null,
      bound: nonInferior?.oneSidedBound ?? null,
    }
  }
  if (!(n >= 2 * LEAST_USERS) || confidenceLevel <= 0.5) return open
  const distance = distanceToMargin(effect, margin, direction)
  const { difference } = effect
  const sequence = confidenceSequence({ difference, standardError: test.standardError, n }, confidenceLevel, tuning)
  const nonInferior =
    distance &&
    confidenceSequence(
      { difference: distance.distance, standardError: Math.sqrt(distance.variance), n },
      confidenceLevel,
      tuning,
    )
  return {
    ...OPEN,
    isNonInferior: nonInferior !== null && nonInferior.lowerBound > 0,
    verdict: guardrailVerdict(isWorse && sequence.pValue < alpha, nonInferior !== null && nonInferior.lowerBound > 0),
    pValue: null,
    bound: direction === 'increase' ? sequence.lowerBound : sequence.upperBound,
  }
}

const asLevel = ({ users, level, standardError }: MetricLevel): Level | null =>
  level === null || standardError === null ? null : { n: users, level, variance: standardError ** 2 }

export const OPEN = {
  verdict: 'inconclusive' as const,
  isNonInferior: false,
  pValue: null,
  bound: null,
  hasNoEvents: false,
  reason: null,
}
