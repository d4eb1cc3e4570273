import { sum } from './counts.ts'
import type { Decision } from './decide.ts'
import { formatCount, formatPEquation, formatUsers, sentence } from './format-figures.ts'
import { bullets, inline, line } from './markdown.ts'
import {
  decidingOf,
  hasRecord,
  isDeparting,
  type ReportAnswer,
  type ReportMetric,
  readAnswer,
} from './report-answer.ts'
import { headline } from './report-headline.ts'
import { guardrailTable, primaryTable, secondaryTable, segmentTable, userTable } from './report-tables.ts'
import {
  decidedSentence,
  decidingEffect,
  FINDINGS,
  guardrailText,
  listed,
  METHODS,
  OUTCOMES,
  periodSentences,
  recordSentences,
  undecidedSentence,
} from './report-words.ts'
import { type RatioTest, sharedText } from './sample-ratios.ts'
import { formatConfidence, formatEffectInterval, upliftSentence } from './sentences.ts'

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
    ['Why', bullets([...datedReasons(decision), ...lostUsers(answer)].map(line))],
    ['Each treatment', decision.variants.length > 1 ? bullets(treatmentLines(answer)) : ''],
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
    `**${inline(headline(answer))}**`,
    ...sections.filter(([, text]) => text !== '').map(([heading, text]) => `## ${heading}\n\n${text}`),
  ].join('\n\n')}\n`
}

/** Says what is decided on each treatment, and of the reasons those that are not among the reasons of the whole. */
function treatmentLines(answer: ReportAnswer): string[] {
  const { variants, reasons: said } = answer.decision
  const words = isDeparting(answer) ? FINDINGS : OUTCOMES
  return variants.map(({ variantName, outcome, reasons, decidedUsers }) => {
    const own = reasons.filter((reason) => !said.includes(reason))
    const text = own.map((reason) => dated(sentence(reason), decidedUsers)).join(' ')
    return line(`${variantName}: ${words[outcome]}. ${text}`.trim())
  })
}

/** Gives the reasons of the whole. A recorded reason has the figures of the users who were counted when it decided. */
const datedReasons = ({ reasons, variants }: Decision): string[] =>
  reasons.map((reason) => {
    const recorded = variants.find((one) => one.decidedUsers !== null && one.reasons.includes(reason))
    return dated(reason, recorded?.decidedUsers ?? null)
  })

const dated = (reason: string, users: number | null) =>
  users === null ? reason : `${reason} That was at ${formatCount(users)} users.`

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

/** Says which figure decides on each primary metric and treatment, and when the method may be read. */
function certainty(answer: ReportAnswer): string[] {
  const { decision, method } = answer
  if (decision.outcome === 'blocked') return ['The figures below are biased: do not decide by them.']
  const figures = decidingOf(answer, 'primary').flatMap(({ metric, comparison }) => {
    const { decidedBy, variantName } = comparison
    const said = decidedBy ? decidedSentence(decidedBy, comparison) : undecidedSentence(comparison, answer)
    return said === null ? [] : [line(`${metric.name} in ${variantName}: ${said}`)]
  })
  return [
    ...recordSentences(decision),
    ...figures,
    ...guardrailLines(answer),
    ...(figures.length > 0 ? [METHODS[method]] : []),
    ...explained(answer),
  ]
}

/** Gives the figures of secondary metrics where there are no others. */
function explained({ metrics, method, confidenceLevel }: ReportAnswer): string[] {
  if (metrics.length === 0 || metrics.some(({ role }) => role !== 'secondary')) return []
  const ready = metrics.filter(({ status }) => status === 'ready')
  return [
    ...ready.flatMap((metric) =>
      metric.comparisons.map((comparison) =>
        line(upliftSentence(metric, comparison, comparison.variantName, { method, confidenceLevel })),
      ),
    ),
    'Secondary metrics decide nothing: take their figures as a hint for the next experiment.',
  ]
}

/** Says of each guardrail and treatment whether the treatment is shown to stay within the margin. */
const guardrailLines = (answer: ReportAnswer): string[] =>
  decidingOf(answer, 'guardrail').map(({ metric, comparison }) =>
    line(`${metric.name} in ${comparison.variantName}: ${guardrailText(metric, comparison, answer)}`),
  )

/** Lists the effects that remain possible, and the warnings. */
function alternatives(answer: ReportAnswer): string[] {
  const { decision, method, warnings } = answer
  const possible = decidingOf(answer, 'primary').flatMap(({ metric, comparison }) => {
    const { look, variantId, variantName } = comparison
    const effect = decidingEffect(comparison, method)
    const interval = formatEffectInterval(metric, effect)
    if (!effect || !interval || interval === 'unbounded') return []
    const at = look ? `at the look at ${formatUsers(look.users)}, ` : hasRecord(decision, variantId) ? 'now, ' : ''
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
  // Exposures are counted in the enabled variants only.
  const counted = new Set(exposed.variants?.map(({ variantId }) => variantId))
  const [drawn, met] = [assigned, exposed].map(({ variants }) =>
    sum((variants ?? []).filter(({ variantId }) => counted.has(variantId)).map(({ users }) => users)),
  ) as [number, number]
  const isAll = assigned.variants?.every(({ variantId }) => counted.has(variantId))
  return met < drawn
    ? [
        `Assigned here${isAll ? '' : ', to variants that are not switched off'}: ${formatUsers(drawn)}, of whom ${formatCount(met)} ${met === 1 ? 'has' : 'have'} met their variant.`,
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
