import { formatCount, formatP } from './format-figures.ts'
import { bullets, inline, line } from './markdown.ts'
import { type ReportAnswer, type ReportComparison, type ReportMetric, readAnswer } from './report-answer.ts'
import { guardrailTable, metricTable, segmentTable, userTable } from './report-tables.ts'
import { decidedSentence, decisionSentence, METHODS, OUTCOMES, periodSentences } from './report-words.ts'
import type { RatioCheck } from './sample-ratios.ts'
import { effectOf, formatConfidence, formatEffectInterval, upliftSentence } from './sentences.ts'

/**
 * Writes an answer as a report in Markdown: what to do, why, how sure, what else could be true, the figures, and how
 * they were computed.
 * @param sent an answer in the spelling of the wire, of this version or an older one
 */
export function markdownReport(sent: object): string {
  const answer = readAnswer(sent)
  const { experimentName, decision, metrics } = answer
  const roles = (role: ReportMetric['role']) => metrics.filter((metric) => metric.role === role)
  const sections: [string, string][] = [
    ['Why', bullets(decision.reasons.map(line))],
    ['Each treatment', decision.variants.length > 1 ? bullets(decision.variants.map(variantLine)) : ''],
    ['How sure', bullets(certainty(answer))],
    ['What else could be true', bullets(alternatives(answer))],
    ['Primary metrics', metricTable(answer, roles('primary'))],
    ['Guardrails', guardrailTable(answer, roles('guardrail'))],
    ['Secondary metrics', metricTable(answer, roles('secondary'))],
    ['Breakdown', segmentTable(answer)],
    ['Users', [userTable(answer), bullets(userLines(answer))].join('\n\n')],
    ['How it was computed', bullets(computation(answer))],
  ]
  return `${[
    `# ${line(experimentName)}: results`,
    periodSentences(answer).map(inline).join(' '),
    `**${inline(decisionSentence(decision))}**`,
    ...sections.filter(([, text]) => text !== '').map(([heading, text]) => `## ${heading}\n\n${text}`),
  ].join('\n\n')}\n`
}

const variantLine = ({ variantName, outcome, reasons }: ReportAnswer['decision']['variants'][number]) =>
  line(`${variantName}: ${OUTCOMES[outcome]}. ${reasons.map(asSentence).join(' ')}`.trim())

const asSentence = (text: string) => {
  const whole = `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`
  return /[.!?]$/.test(whole) ? whole : `${whole}.`
}

const primariesOf = ({ metrics }: ReportAnswer) =>
  metrics
    .filter(({ role, status }) => role === 'primary' && status === 'ready')
    .flatMap((metric) => metric.comparisons.map((comparison) => ({ metric, comparison })))

const FINDINGS = {
  better: 'significantly better',
  worse: 'significantly worse',
  contradictory: 'significant in both directions at different looks',
  undecided: 'not significant',
}

/** Says for each primary metric and treatment what was found, and what decided. */
function certainty(answer: ReportAnswer): string[] {
  const { decision, method, confidenceLevel } = answer
  if (decision.outcome === 'blocked') return ['The figures below are biased: do not decide by them.']
  const lines = primariesOf(answer).map(({ metric, comparison }) => {
    const sentence =
      comparison.difference === null
        ? `${metric.name}: ${asSentence(comparison.reason ?? 'there is nothing to compare yet')}`
        : upliftSentence(
            metric,
            comparison,
            comparison.variantName,
            { method, confidenceLevel },
            FINDINGS[comparison.verdict],
          )
    return line([sentence, decidedSentence(comparison, metric.role)].filter(Boolean).join(' '))
  })
  const all = [...lines, ...guardrailLines(answer)]
  return all.length > 0 ? [...all, METHODS[method]] : []
}

/** Says for each guardrail and treatment whether the treatment is shown to stay within the margin. */
function guardrailLines({ metrics, method, confidenceLevel }: ReportAnswer): string[] {
  const findings = {
    passed: 'shown to stay within the margin',
    failed: 'significantly worse',
    inconclusive: 'not shown to stay within the margin yet',
  }
  return metrics
    .filter(({ role, status }) => role === 'guardrail' && status === 'ready')
    .flatMap((metric) =>
      metric.comparisons.map((comparison) => {
        const { variantName, guardrail } = comparison
        const finding = findings[guardrail?.verdict ?? 'inconclusive']
        return line(upliftSentence(metric, comparison, variantName, { method, confidenceLevel }, finding))
      }),
    )
}

/** Lists the effects that remain possible, and the warnings. */
function alternatives(answer: ReportAnswer): string[] {
  const possible =
    answer.decision.outcome === 'blocked' ? [] : primariesOf(answer).flatMap((pair) => remaining(pair, answer))
  return [...possible, ...answer.warnings.map(line)]
}

function remaining(
  { metric, comparison }: { metric: ReportMetric; comparison: ReportComparison },
  { method }: ReportAnswer,
): string[] {
  const effect = effectOf(comparison, method)
  const interval = effect && formatEffectInterval(metric, effect)
  if (!interval) return []
  return [
    line(`The true ${effect.of} of ${metric.name} in ${comparison.variantName} may be anything from ${interval}.`),
  ]
}

const EXCLUDED = {
  crossovers: 'seen with two variants',
  overridden: 'whose variant was overridden',
  excludedByHand: 'excluded by hand',
  excludedByAttribute: 'excluded by attribute (bots and internal users)',
  excludedByRate: 'excluded by rate',
} as const

/** Tells the users who are left out, and whether the variants have as many users as allocated. */
function userLines(answer: ReportAnswer): string[] {
  const excluded = Object.entries(EXCLUDED).flatMap(([count, words]) => {
    const users = answer[count as keyof typeof EXCLUDED]
    return users > 0 ? [`${formatCount(users)} ${words}`] : []
  })
  const { assigned, exposed, exclusions, causes } = answer.sampleRatio
  return [
    excluded.length > 0 ? `Left out: ${excluded.join(', ')}.` : 'No user is left out.',
    line(`Sample ratio: ${[ratio('assigned', assigned), ratio('exposed', exposed)].join(', ')}; ${rates(exclusions)}.`),
    ...causes.map(({ by, value, variants }) =>
      line(
        `Mismatch among users with ${by} ${value}: ${variants
          .map(({ variantId, variantName, users, expected }) => {
            const name = variantName ?? answer.variants.find((variant) => variant.variantId === variantId)?.variantName
            return `${formatCount(users)} in ${name}, ${formatCount(expected)} expected`
          })
          .join('; ')}.`,
      ),
    ),
  ]
}

/** While a run goes on, the sequential p-value decides; afterwards, the chi-square test does. */
function ratio(what: string, { status, isMismatch, pValue, sequentialPValue }: RatioCheck): string {
  if (status === 'no_data') return `no ${what} users yet`
  if (status === 'single_variant') return `${what} users of one variant only`
  const figures = `p ${equation(pValue)}${sequentialPValue === null ? '' : `, sequential p ${equation(sequentialPValue)}`}`
  return isMismatch ? `MISMATCH of the ${what} users (${figures})` : `${what} users as allocated (${figures})`
}

const rates = ({ status, isMismatch, pValue }: Pick<RatioCheck, 'status' | 'isMismatch' | 'pValue'>) =>
  isMismatch
    ? `users are EXCLUDED AT DIFFERENT RATES (p ${equation(pValue)})`
    : status === 'ok'
      ? `excluded at the same rate (p ${equation(pValue)})`
      : 'no rates of exclusion to compare'

const equation = (p: number) => (p < 1e-4 ? formatP(p) : `= ${formatP(p)}`)

/** Says how the figures were computed. */
function computation(answer: ReportAnswer): string[] {
  const { method, confidenceLevel, plannedUsers, engineVersion, frozenAt, metrics } = answer
  const adjusted = metrics.filter(({ comparisons }) => comparisons.some(({ cuped }) => cuped))
  const capped = metrics.filter(({ caps }) => caps?.outcome != null)
  const names = (list: readonly ReportMetric[]) => list.map(({ name }) => name).join(', ')
  return [
    `Method ${method.replace('_', ' ')}, confidence level ${formatConfidence(confidenceLevel)}. ${
      plannedUsers === null ? 'No number of users is planned.' : `Planned: ${formatCount(plannedUsers)} users.`
    }`,
    'Primary metrics are corrected by Holm, secondary ones by Benjamini and Hochberg.',
    ...(adjusted.length > 0 ? [line(`CUPED adjusts by values before exposure: ${names(adjusted)}.`)] : []),
    ...(capped.length > 0 ? [line(`Large values are capped: ${names(capped)}.`)] : []),
    `Engine ${inline(engineVersion)}. ${
      frozenAt
        ? 'The answer is frozen and never changes again; `npm run verify:result` computes it again.'
        : 'The answer is not frozen: figures change while events arrive.'
    }`,
  ]
}
