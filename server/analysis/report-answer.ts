import type { Answer } from './answer.ts'
import type { MetricComparison, MetricLevel, MetricResult, Verdict } from './metric-result.ts'
import { camelCased } from './snake-case.ts'

/** Reads an answer as it was sent or stored, by this version or an older one, for the reports made of it. */

export type Outcome = 'ship' | 'stop' | 'continue' | 'blocked' | 'no_difference' | 'inconclusive'
export type ReportVerdict = Verdict

/** The figure that decides on a comparison. It decides if it is beyond the threshold. */
export type DecidedBy = { figure: string; value: number; threshold: number }
export type ReportComparison = Omit<MetricComparison, 'decidedBy'> & {
  variantName: string
  verdict: ReportVerdict
  decidedBy: DecidedBy | null
}
export type ReportMetric = Omit<MetricResult, 'margin' | 'comparisons' | 'variants'> & {
  margin: MetricResult['margin'] | null
  variants: MetricLevel[]
  comparisons: ReportComparison[]
}
type VariantDecision = {
  variantId: number
  variantName: string
  outcome: Outcome
  reasons: string[]
  decidedAt: string | null
}
export type ReportDecision = Omit<VariantDecision, 'variantId' | 'variantName'> & {
  variantId: number | null
  variantName: string | null
  daysLeft: number | null
  variants: VariantDecision[]
}
/** The documented figures of a variant; rates in per cent. */
export type DocumentedVariant = {
  variantId: number
  variantName: string
  isControl: boolean
  totalUsers: number
  conversions: number
  conversionRate: number
}

/** An answer as reports read it: every field is there, and every variant has its name. */
export type ReportAnswer = Omit<Answer, 'variants' | 'winner' | 'decision' | 'metrics' | 'segments'> & {
  variants: DocumentedVariant[]
  decision: ReportDecision
  metrics: ReportMetric[]
  segments: { dimension: string; value: string; metrics: ReportMetric[] }[] | null
}

/** A part of an answer of any version: fields that the version did not know are absent. */
type Loose<Part> = { [Key in keyof Part]?: Part[Key] | undefined }
type LooseMetric = Omit<MetricResult, 'margin' | 'comparisons' | 'variants'> & {
  margin?: MetricResult['margin']
  variants: (MetricLevel & Loose<MetricLevel>)[]
  comparisons: (Omit<MetricComparison, 'decidedBy' | 'verdict'> & Loose<ReportComparison>)[]
}
type LooseAnswer = Omit<ReportAnswer, 'decision' | 'metrics' | 'segments' | 'startedAt' | 'endedAt'> &
  Loose<Pick<ReportAnswer, 'startedAt' | 'endedAt'>> & {
    decision: Omit<ReportDecision, 'variantName' | 'decidedAt' | 'variants'> &
      Loose<Pick<ReportDecision, 'variantName' | 'decidedAt'>> & {
        variants: (Pick<VariantDecision, 'variantId' | 'outcome' | 'reasons'> & Loose<VariantDecision>)[]
      }
    metrics: LooseMetric[]
    segments: { dimension: string; value: string; metrics: LooseMetric[] }[] | null
  }

/**
 * Reads an answer in the spelling of the wire. An answer that an older version stored lacks fields: names come from the
 * variants, verdicts and deciding figures from the rule of that version, and the rest is null.
 */
export function readAnswer(sent: object): ReportAnswer {
  // Times may be Dates, whose JSON is a text.
  const answer = camelCased(JSON.parse(JSON.stringify(sent))) as LooseAnswer
  const { decision, metrics, segments, variants } = answer
  const names = new Map(variants.map(({ variantId, variantName }) => [variantId, variantName]))
  const nameOf = (id: number) => names.get(id) ?? `variant ${id}`
  const metricOf = (metric: LooseMetric) => readMetric(metric, answer, nameOf)
  return {
    ...answer,
    startedAt: answer.startedAt ?? null,
    endedAt: answer.endedAt ?? null,
    decision: {
      ...decision,
      variantName: decision.variantName ?? (decision.variantId === null ? null : nameOf(decision.variantId)),
      decidedAt: decision.decidedAt ?? null,
      variants: decision.variants.map((variant) => ({
        ...variant,
        variantName: variant.variantName ?? nameOf(variant.variantId),
        decidedAt: variant.decidedAt ?? null,
      })),
    },
    metrics: metrics.map(metricOf),
    segments: segments?.map((segment) => ({ ...segment, metrics: segment.metrics.map(metricOf) })) ?? null,
  }
}

function readMetric(
  metric: LooseMetric,
  { method, confidenceLevel }: LooseAnswer,
  nameOf: (id: number) => string,
): ReportMetric {
  return {
    ...metric,
    margin: metric.margin ?? null,
    variants: metric.variants.map((level) => ({ ...level, variantName: level.variantName ?? nameOf(level.variantId) })),
    comparisons: metric.comparisons.map((comparison) => {
      const decidedBy =
        comparison.decidedBy === undefined ? ruleOf(comparison, method, confidenceLevel) : comparison.decidedBy
      return {
        ...comparison,
        variantName: comparison.variantName ?? nameOf(comparison.variantId),
        decidedBy,
        verdict: comparison.verdict ?? verdictOf(comparison, metric, decidedBy),
      }
    }),
  }
}

/** The figure that decided in versions whose answers do not name it. */
function ruleOf(
  { alwaysValid, bayesian, pValueAdjusted }: Omit<MetricComparison, 'decidedBy' | 'verdict'>,
  method: Answer['method'],
  confidenceLevel: number,
): DecidedBy | null {
  const alpha = Number((1 - confidenceLevel).toPrecision(12))
  const decided = (figure: string, value: number | null | undefined, threshold: number) =>
    value == null ? null : { figure, value, threshold }
  if (method === 'bayesian') return decided('probability_better', bayesian?.probabilityBetter, 1 - alpha / 2)
  if (method === 'sequential') return decided('always_valid.p_value_adjusted', alwaysValid?.pValueAdjusted, alpha)
  return decided('p_value_adjusted', pValueAdjusted, alpha)
}

function verdictOf(
  { difference }: Pick<MetricComparison, 'difference'>,
  { direction }: Pick<MetricResult, 'direction'>,
  decidedBy: DecidedBy | null,
): ReportVerdict {
  if (!decidedBy || !difference) return 'undecided'
  const { figure, value, threshold } = decidedBy
  if (isProbability(figure)) return value > threshold ? 'better' : value < 1 - threshold ? 'worse' : 'undecided'
  if (value >= threshold) return 'undecided'
  return difference > 0 === (direction === 'increase') ? 'better' : 'worse'
}

/** Tells a probability to be better, which decides above its threshold, from a p-value, which decides below. */
export const isProbability = (figure: string) => figure.includes('probability')
