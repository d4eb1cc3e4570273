import { sum } from './counts.ts'
import type { Decision } from './decide.ts'
import { formatCount, formatPEquation, formatUsers, sentence } from './format-figures.ts'
import { bullets, inline, line } from './markdown.ts'
import { type ReportAnswer, type ReportMetric, readAnswer } from './report-answer.ts'
import { guardrailTable, primaryTable, secondaryTable, segmentTable, userTable } from './report-tables.ts'
import {
  decidedSentence,
  decidingEffect,
  decisionSentence,
  guardrailText,
  isEnabled,
  listed,
  METHODS,
  OUTCOMES,
  periodSentences,
  recordSentences,
  undecidedSentence,
} from './report-words.ts'
import { type RatioTest, sharedText } from './sample-ratios.ts'
import { formatConfidence, formatEffectInterval } from './sentences.ts'

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
    ['Why', bullets([...decision.reasons, ...lostUsers(answer)].map(line))],
    ['Each treatment', decision.variants.length > 1 ? bullets(treatmentLines(decision)) : ''],
    ['How sure', bullets(certainty(answer))],
    ['What else could be true', bullets(alternatives(answer))],
    ['Primary metrics', primaryTable(answer, roles('primary'))],
    ['Guardrails', guardrailTable(answer, roles('guardrail'))],
    ['Secondary metrics', secondaryTable(answer, roles('secondary'))],
    ['Breakdown', segmentTable(answer)],
    ['Users', [userTable(answer), bullets(userLines(answer))].join('\n\n')],
    ['How it was computed', bullets(computation(answer))],
  ]
  return `${[
    `# ${line(experimentName)}: results`,
    periodSentences(answer).map(inline).join(' '),
    `**${inline(answer.run === null ? NOT_STARTED : decisionSentence(decision))}**`,
    ...sections.filter(([, text]) => text !== '').map(([heading, text]) => `## ${heading}\n\n${text}`),
  ].join('\n\n')}\n`
}

const NOT_STARTED = 'Not started: there is nothing to decide yet.'

/** Says what is decided on each treatment, and of the reasons those that are not among the reasons of the whole. */
const treatmentLines = ({ variants, reasons: said }: Decision) =>
  variants.map(({ variantName, outcome, reasons }) => {
    const own = reasons.filter((reason) => !said.includes(reason))
    return line(`${variantName}: ${OUTCOMES[outcome]}. ${own.map(sentence).join(' ')}`.trim())
  })

/** Names the variant that lacks the most users where a mismatch blocks the decision, and the exposed share of each. */
function lostUsers({ decision, sampleRatio: { assigned, exposed } }: ReportAnswer): string[] {
  const [what, shared] = assigned.isMismatch
    ? (['assigned', assigned.variants] as const)
    : ['exposed', exposed.variants]
  if (decision.outcome !== 'blocked' || !(assigned.isMismatch || exposed.isMismatch) || !shared) return []
  const [least] = shared.toSorted((one, other) => one.users - one.expected - (other.users - other.expected))
  const shares = shared.flatMap(({ variantId, variantName, users }) => {
    const drawn = assigned.variants?.find((row) => row.variantId === variantId)?.users ?? 0
    return drawn > 0 ? [`${formatCount(users)} of ${formatCount(drawn)} in ${variantName}`] : []
  })
  return [
    `${least?.variantName} lacks the most ${what} users.`,
    ...(what === 'exposed'
      ? [`Exposed, of the users who were assigned: ${listed(shares)}. Check whether exposures are lost.`]
      : []),
  ]
}

/** Lists the comparisons that decide. A variant that was switched off leaves the decision. */
const decidingOf = ({ metrics, decision }: ReportAnswer, wanted: 'primary' | 'guardrail') =>
  metrics
    .filter(({ role, status }) => role === wanted && status === 'ready')
    .flatMap((metric) =>
      metric.comparisons
        .filter(({ variantId }) => isEnabled(decision, variantId))
        .map((comparison) => ({ metric, comparison })),
    )

/** Says which figure decides on each primary metric and treatment, and when the method may be read. */
function certainty(answer: ReportAnswer): string[] {
  const { decision, method } = answer
  if (decision.outcome === 'blocked') return ['The figures below are biased: do not decide by them.']
  const figures = decidingOf(answer, 'primary').flatMap(({ metric, comparison }) => {
    const { decidedBy, variantName } = comparison
    const said = decidedBy ? decidedSentence(decidedBy, comparison) : undecidedSentence(comparison, method)
    return said === null ? [] : [line(`${metric.name} in ${variantName}: ${said}`)]
  })
  return [
    ...recordSentences(decision),
    ...figures,
    ...guardrailLines(answer),
    ...(figures.length > 0 ? [METHODS[method]] : []),
  ]
}

/** Says of each guardrail and treatment whether the treatment is shown to stay within the margin. */
const guardrailLines = (answer: ReportAnswer): string[] =>
  decidingOf(answer, 'guardrail').map(({ metric, comparison: { variantName, guardrail, reason } }) =>
    line(`${metric.name} in ${variantName}: ${guardrailText(metric, guardrail, reason)}`),
  )

/** Lists the effects that remain possible, and the warnings. */
function alternatives(answer: ReportAnswer): string[] {
  const { decision, method, warnings } = answer
  const possible = decidingOf(answer, 'primary').flatMap(({ metric, comparison }) => {
    const { look, variantName } = comparison
    const effect = decidingEffect(comparison, method)
    const interval = formatEffectInterval(metric, effect)
    if (!effect || !interval || interval === 'unbounded') return []
    const at = look ? `at the look at ${formatUsers(look.users)}, ` : ''
    const note = look || method === 'sequential' ? '' : ' This is the interval of one look, and decides nothing yet.'
    return [
      line(`${metric.name} in ${variantName}: ${at}the data agree with a true ${effect.of} of ${interval}.${note}`),
    ]
  })
  return [...(decision.outcome === 'blocked' ? [] : possible), ...warnings.map(line)]
}

const EXCLUDED = {
  crossovers: 'who met two variants',
  overridden: 'whose variant was overridden',
  excludedByHand: 'excluded by hand',
  excludedByAttribute: 'excluded by attribute (bots and internal users)',
  excludedByRate: 'excluded by rate',
} as const

/** Tells the users who are left out, and whether the variants have as many users as allocated. */
function userLines(answer: ReportAnswer): string[] {
  const { crossovers, crossoverRule } = answer
  const counted = crossoverRule === 'first' && crossovers > 0
  const excluded = Object.entries(EXCLUDED).flatMap(([count, words]) => {
    const users = answer[count as keyof typeof EXCLUDED]
    return users > 0 && !(counted && count === 'crossovers') ? [`${formatCount(users)} ${words}`] : []
  })
  const { assigned, exposed, exclusions, causes } = answer.sampleRatio
  return [
    excluded.length > 0 ? `Left out: ${excluded.join(', ')}.` : 'No user is left out.',
    ...(counted
      ? [`${formatUsers(crossovers)} met two variants, and ${crossovers === 1 ? 'counts' : 'count'} under the first.`]
      : []),
    ...unexposed(answer),
    line(`Sample ratio: ${ratio('assigned', assigned)}; ${ratio('exposed', exposed)}; ${rates(exclusions)}.`),
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

/** Tells how many of the users who were drawn here have met their variant, where some have not. */
function unexposed({ sampleRatio: { assigned, exposed } }: ReportAnswer): string[] {
  const [drawn, met] = [assigned, exposed].map(({ variants }) => variants && sum(variants.map(({ users }) => users)))
  return drawn != null && met != null && met < drawn
    ? [
        `Assigned here: ${formatUsers(drawn)}, of whom ${formatCount(met)} ${met === 1 ? 'has' : 'have'} met their variant.`,
      ]
    : []
}

/** The chi-square p-value below which the answer warns of counts, if all expected numbers are large enough. */
const SUSPICIOUS = 1e-4
const LEAST_EXPECTED = 5

/** While a run goes on, the sequential p-value decides; afterwards, the chi-square test does. */
function ratio(what: 'assigned' | 'exposed', check: ReportAnswer['sampleRatio']['assigned']): string {
  const { status, isMismatch, pValue, sequentialPValue, variants } = check
  if (status === 'no_data') return `no ${what} users that were drawn here`
  if (status === 'single_variant') return `${what} users of one variant only`
  const figures = `${formatPEquation(pValue)}${sequentialPValue === null ? '' : `, sequential ${formatPEquation(sequentialPValue)}`}`
  const counts = variants ? `: ${sharedText(variants)}` : ''
  if (isMismatch) return `MISMATCH of the ${what} users (${figures})${counts}`
  const isTested = !variants?.some(({ expected }) => expected < LEAST_EXPECTED)
  return isTested && pValue < SUSPICIOUS
    ? `the ${what} users deviate from the allocation (${figures})${counts}`
    : `${what} users as allocated (${figures})`
}

const rates = ({ status, isMismatch, pValue }: Pick<RatioTest, 'status' | 'isMismatch' | 'pValue'>) =>
  isMismatch
    ? `users are EXCLUDED AT DIFFERENT RATES (${formatPEquation(pValue)})`
    : status === 'ok'
      ? `excluded at the same rate (${formatPEquation(pValue)})`
      : 'no rates of exclusion to compare'

/** Says how the figures were computed. */
function computation(answer: ReportAnswer): string[] {
  const { method, confidenceLevel, plannedUsers, engineVersion, frozenAt, metrics } = answer
  const adjusted = metrics.filter(({ comparisons }) => comparisons.some(({ cuped }) => cuped))
  const weighted = metrics.filter(({ comparisons }) => comparisons.some(({ levels }) => levels))
  const capped = metrics.filter(({ caps }) => caps?.outcome != null)
  const names = (list: readonly ReportMetric[]) => list.map(({ name }) => name).join(', ')
  const isOneOfMany = metrics.some(({ comparisons }) => comparisons.length > 1) || metrics.length > 1
  return [
    `Method ${method.replace('_', ' ')}, confidence level ${formatConfidence(confidenceLevel)}. ${
      plannedUsers === null ? 'No number of users is planned.' : `Planned: ${formatUsers(plannedUsers)}.`
    }`,
    method === 'bayesian'
      ? 'The threshold is divided among the comparisons that decide (Bonferroni).'
      : 'The threshold is divided among the comparisons that decide (Holm); secondary metrics decide nothing and are adjusted by Benjamini and Hochberg.',
    ...(isOneOfMany ? ['Each interval is that of one comparison: intervals are not adjusted for their number.'] : []),
    ...(adjusted.length > 0 ? [line(`CUPED adjusts by values before exposure: ${names(adjusted)}.`)] : []),
    ...(weighted.length > 0
      ? [line(`Levels are as compared, adjusted by values before exposure or by period: ${names(weighted)}.`)]
      : []),
    ...(capped.length > 0 ? [line(`Large values are capped: ${names(capped)}.`)] : []),
    `Engine ${inline(engineVersion)}. ${
      frozenAt
        ? 'The answer is frozen and never changes again; `npm run verify:result` computes it again.'
        : 'The answer is not frozen: figures change while events arrive.'
    }`,
  ]
}
