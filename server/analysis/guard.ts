import { criticalT } from '../statistics/comparison.ts'
import { studentSf } from '../statistics/distributions.ts'
import { exactHarm } from '../statistics/exact-harm.ts'
import { distanceToMargin, guardrailVerdict, rateDistance } from '../statistics/non-inferiority.ts'
import { lowerDifference } from '../statistics/rate-score.ts'
import { oneSidedMultiplier, oneSidedPValue } from '../statistics/sequential.ts'
import type { Contrast } from './kinds.ts'
import type { Gate, GuardrailResult, MetricComparison } from './metric-result.ts'
import type { MetricStatistics, Question } from './statistics.ts'

/** Judges guardrails: metrics that a treatment must not harm by a margin or more. */

type NonInferiority = Pick<GuardrailResult, 'isNonInferior' | 'pValue' | 'bound'>
const UNKNOWN: NonInferiority = { isNonInferior: false, pValue: null, bound: null }

/**
 * Judges a guardrail by the method of the analysis. Harm is judged without a correction for other comparisons:
 * `withVerdict` judges it again with one.
 * @param gate what the comparison lacks to be read; null where nothing
 */
export function guard(
  metric: MetricStatistics,
  contrast: Contrast,
  gate: Gate | null,
  alwaysValid: MetricComparison['alwaysValid'],
  question: Question,
): GuardrailResult {
  const harm = harmOf(metric, contrast, gate, alwaysValid, question)
  const hasNoEvents = gate !== null && metric.margin.type === 'relative' && isWithoutEvents(contrast)
  const nonInferiority = gate ? boundExactly(metric, contrast, question) : testMargin(metric, contrast, question)
  // A test that may be read at any time must not pass what most users have had no time for.
  const isAwaited = question.method === 'sequential' && contrast.immature > contrast.users / 2
  const open = hasNoEvents
    ? 'no variant has an event, so that no share of the control level can be ruled out'
    : isAwaited
      ? 'the windows of most users are not over yet'
      : gate
        ? 'too few events or users to show that the treatment is worse by less than the margin'
        : null
  const reason = contrast.comparison.status === 'no_data' ? null : open
  const isNonInferior = nonInferiority.isNonInferior && !isAwaited
  const result = { ...nonInferiority, isNonInferior, verdict: 'inconclusive' as const, reason, harm, hasNoEvents }
  return withVerdict(result, harm.isWorse && harm.pValue !== null && harm.pValue < 1 - question.confidenceLevel)
}

/**
 * Gives the verdict on a guardrail.
 * @param isHarm the treatment is significantly worse, after the correction for all comparisons that may show harm
 */
export function withVerdict(guardrail: GuardrailResult, isHarm: boolean): GuardrailResult {
  const verdict = guardrailVerdict({ isHarm, isNonInferior: guardrail.isNonInferior })
  const open = guardrail.reason === SLIGHTLY ? null : guardrail.reason
  return { ...guardrail, verdict, reason: verdict === 'passed' ? (isHarm ? SLIGHTLY : null) : open }
}

const SLIGHTLY = 'the treatment is significantly worse, by less than the margin'

/** The p-value of a rate by the fixed method is exact in small samples; all other tests wait for the gate. */
function harmOf(
  { direction }: MetricStatistics,
  { comparison: { test, difference } }: Contrast,
  gate: Gate | null,
  alwaysValid: MetricComparison['alwaysValid'],
  { method }: Question,
): GuardrailResult['harm'] {
  const isWorse = difference !== null && (direction === 'increase' ? difference < 0 : difference > 0)
  if (method === 'sequential') return { isWorse, pValue: alwaysValid?.pValue ?? null }
  return { isWorse, pValue: gate?.blocksFixed ? null : (test?.pValue ?? null) }
}

/** Tells whether nobody converts, or everybody, in both variants. */
function isWithoutEvents({ strata }: Contrast): boolean {
  if (!strata) return false
  const sides = strata.flatMap(({ control, treatment }) => [control, treatment])
  return (
    sides.every(({ converted }) => converted === 0) || sides.every(({ exposed, converted }) => converted === exposed)
  )
}

/** Bounds the harm of a rate with few events. Only an absolute margin needs no estimate of the control. */
function boundExactly(
  { margin, direction }: MetricStatistics,
  { strata }: Contrast,
  question: Question,
): NonInferiority {
  const { method, tuning, confidenceLevel: level } = question
  if (!strata || level <= 0.5) return UNKNOWN
  const reading = method === 'sequential' ? ({ looks: 'any', tuning } as const) : ({ looks: 'one' } as const)
  const size = margin.type === 'absolute' ? margin.size : 1
  const harm = exactHarm(strata, size, direction, level, reading)
  if (!harm) return UNKNOWN
  const bound = direction === 'increase' ? -harm.bound : harm.bound
  if (margin.type === 'relative') return { ...UNKNOWN, bound }
  return { isNonInferior: harm.pValue < 1 - level, pValue: harm.pValue, bound }
}

/** Tests that the treatment is worse by less than the margin. */
function testMargin({ margin, direction }: MetricStatistics, contrast: Contrast, question: Question): NonInferiority {
  const { comparison, rates, users: n } = contrast
  const { effect } = comparison
  const { method, tuning, confidenceLevel: level } = question
  if (!effect || !comparison.test || level <= 0.5) return UNKNOWN
  const distance = rates ? null : distanceToMargin(effect, margin, direction)
  const z = rates
    ? rateDistance(...rates, margin, direction)
    : distance && distance.distance / Math.sqrt(distance.variance)
  const isSequential = method === 'sequential'
  const multiplier = isSequential
    ? oneSidedMultiplier(n, level, tuning)
    : criticalT(2 * level - 1, effect.degreesOfFreedom)
  const pValue =
    z === null ? null : isSequential ? oneSidedPValue(z, n, level, tuning) : studentSf(z, effect.degreesOfFreedom)
  return {
    isNonInferior: pValue !== null && pValue < 1 - level,
    pValue,
    bound: boundOf(contrast, direction, multiplier),
  }
}

function boundOf({ comparison, rates }: Contrast, direction: MetricStatistics['direction'], multiplier: number) {
  const { effect } = comparison
  if (rates) {
    const [control, treatment] = rates
    return direction === 'increase'
      ? lowerDifference(control, treatment, multiplier)
      : -lowerDifference(treatment, control, multiplier)
  }
  if (!effect) return null
  const halfWidth = multiplier * Math.sqrt(effect.varianceOfDifference)
  return direction === 'increase' ? effect.difference - halfWidth : effect.difference + halfWidth
}
