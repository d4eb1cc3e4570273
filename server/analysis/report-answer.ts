import { type Answer, DEPARTURE, type DecidingLook, existing } from './answer.ts'
import type { Decision, VariantDecision } from './decide.ts'
import type { DecidedBy, MetricComparison, MetricLevel, MetricResult } from './metric-result.ts'
import type { RatioTest, SampleRatios, SharedUsers } from './sample-ratios.ts'
import { camelCased } from './snake-case.ts'

/** Reads an answer as it was sent or stored, by this version or an older one, for the reports made of it. */

/** The documented figures of a variant; rates in per cent. */
type DocumentedVariant = {
  variantId: number
  variantName: string
  isControl: boolean
  totalUsers: number
  conversions: number
  conversionRate: number
}

/** An answer as reports read it. An answer that an older version froze lacks what that version did not know. */
export type ReportAnswer = Omit<
  Answer,
  'mode' | 'departs' | 'variants' | 'winner' | 'sampleRatio' | 'metrics' | 'segments'
> & {
  mode: Answer['mode'] | null
  departs: Answer['departs'] | null
  variants: DocumentedVariant[]
  sampleRatio: Omit<SampleRatios, 'assigned' | 'exposed'> & Record<'assigned' | 'exposed', SharedCheck>
  metrics: ReportMetric[]
  segments: { dimension: string; value: string; metrics: ReportMetric[] }[] | null
}
/** A check of the sample ratio with the counts that it compares; null in answers of engines that did not give them. */
type SharedCheck = RatioTest & { variants: SharedUsers[] | null }
export type ReportMetric = Omit<MetricResult, 'margin' | 'comparisons'> & {
  margin: MetricResult['margin'] | null
  comparisons: ReportComparison[]
}
export type ReportComparison = MetricComparison & { look: DecidingLook | null }

/** A part of an answer of any version: fields that the version did not know are absent. */
type Older<Part, Known extends keyof Part> = Pick<Part, Known> & Partial<Part>
type OlderComparison = Older<ReportComparison, Exclude<keyof MetricComparison, 'variantName' | 'verdict' | 'decidedBy'>>
type OlderLevel = Older<MetricLevel, Exclude<keyof MetricLevel, 'variantName'>>
type OlderMetric = Omit<MetricResult, 'margin' | 'comparisons' | 'variants'> & {
  margin?: MetricResult['margin']
  variants: OlderLevel[]
  comparisons: OlderComparison[]
}
type OlderVariant = Older<VariantDecision, 'variantId' | 'outcome' | 'reasons'>
type OlderDecision = Older<
  Omit<Decision, 'variants'>,
  'outcome' | 'variantId' | 'reasons' | 'daysLeft' | 'verdicts'
> & {
  variants: OlderVariant[]
}
type OlderAnswer = Omit<
  ReportAnswer,
  'decision' | 'metrics' | 'segments' | 'mode' | 'departs' | 'startedAt' | 'endedAt'
> &
  Partial<Pick<ReportAnswer, 'mode' | 'departs' | 'startedAt' | 'endedAt'>> & {
    decision: OlderDecision
    metrics: OlderMetric[]
    segments: { dimension: string; value: string; metrics: OlderMetric[] }[] | null
  }

/**
 * Reads an answer in the spelling of the wire. An answer that an older version stored lacks fields: names come from the
 * variants, verdicts and deciding figures from the rule of that version, and the rest is null.
 */
export function readAnswer(sent: object): ReportAnswer {
  // Times may be Dates, whose JSON is a text.
  const answer = camelCased(JSON.parse(JSON.stringify(sent))) as OlderAnswer
  const { decision, metrics, segments, variants } = answer
  const names = new Map(variants.map(({ variantId, variantName }) => [variantId, variantName]))
  const nameOf = (id: number) => names.get(id) ?? `variant ${id}`
  const metricOf = (metric: OlderMetric) => readMetric(metric, answer, nameOf)
  return {
    ...answer,
    mode: answer.mode ?? null,
    departs: answer.departs ?? null,
    startedAt: answer.startedAt ?? null,
    endedAt: answer.endedAt ?? null,
    decision: readDecision(decision, nameOf),
    metrics: metrics.map(metricOf),
    segments: segments?.map((segment) => ({ ...segment, metrics: segment.metrics.map(metricOf) })) ?? null,
  }
}

const UNRECORDED = { decidedAt: null, decidedUsers: null }

const readDecision = (decision: OlderDecision, nameOf: (id: number) => string): Decision => ({
  ...UNRECORDED,
  nextLookAtUsers: null,
  harms: [],
  ...decision,
  variantName: decision.variantName ?? (decision.variantId === null ? null : nameOf(decision.variantId)),
  variants: decision.variants.map((variant) => ({
    ...UNRECORDED,
    ...variant,
    variantName: variant.variantName ?? nameOf(variant.variantId),
  })),
})

/** Answers of older versions say in the decision alone which comparisons are significant. */
const readMetric = (metric: OlderMetric, { decision }: OlderAnswer, nameOf: (id: number) => string): ReportMetric => ({
  ...metric,
  margin: metric.margin ?? null,
  variants: metric.variants.map((level) => ({ ...level, variantName: level.variantName ?? nameOf(level.variantId) })),
  comparisons: metric.comparisons.map((comparison) => {
    const { variantId } = comparison
    const known = decision.verdicts.find((one) => one.key === metric.key && one.variantId === variantId)
    return {
      ...comparison,
      // Answers say by an object without figures that there are none.
      alwaysValid: comparison.alwaysValid?.pValue == null ? null : comparison.alwaysValid,
      variantName: comparison.variantName ?? nameOf(variantId),
      decidedBy: existing({ decidedBy: comparison.decidedBy ?? null, alwaysValid: comparison.alwaysValid }),
      look: comparison.look ?? null,
      verdict: known?.verdict ?? comparison.verdict ?? 'undecided',
    }
  }),
})

/** Tells whether the answer is to another question than the planned one. Older answers say so in a warning only. */
export const isDeparting = ({ departs, warnings }: ReportAnswer): boolean =>
  departs === null ? warnings.some((warning) => warning.startsWith(DEPARTURE)) : departs.length > 0

/** Tells whether a treatment takes part in the decision: one that was switched off does not. */
export const isEnabled = ({ variants }: Decision, variantId: number): boolean =>
  variants.some((variant) => variant.variantId === variantId)

/** Tells whether a look recorded what was decided on a treatment, with the figures of that look as reasons. */
export const hasRecord = ({ variants }: Decision, variantId: number): boolean =>
  variants.some((variant) => variant.variantId === variantId && variant.decidedUsers !== null)

/** Lists the comparisons that decide. A variant that was switched off leaves the decision. */
export const decidingOf = ({ metrics, decision }: ReportAnswer, wanted: 'primary' | 'guardrail') =>
  metrics
    .filter(({ role, status }) => role === wanted && status === 'ready')
    .flatMap((metric) =>
      metric.comparisons
        .filter(({ variantId }) => isEnabled(decision, variantId))
        .map((comparison) => ({ metric, comparison })),
    )

/** Tells a probability to be better, which decides above its threshold, from a p-value, which decides below. */
export const isProbability = (figure: DecidedBy['figure']) => figure === 'bayesian.probability_better'
