import type { Decision, VariantDecision } from './decide.ts'
import { decidingOf, isDeparting, type ReportAnswer } from './report-answer.ts'
import { listed } from './report-words.ts'

/** The first sentence of a report: what to do, with everything that forbids to do it. */

/** Says what to do, or that nothing may be done by this answer. */
export function headline(answer: ReportAnswer): string {
  const { run, mode, decision, metrics } = answer
  if (run === null) return 'Not started: there is nothing to decide yet.'
  if (decision.outcome === 'blocked') return 'Do not decide by this run: its data cannot be trusted.'
  if (mode === 'aa') return aaSentence(answer)
  if (isDeparting(answer)) return departingSentence(decision)
  if (metrics.length > 0 && metrics.every(({ role }) => role === 'secondary'))
    return 'Nothing can be decided: secondary metrics decide nothing.'
  return plannedSentence(answer)
}

/** Says of an A/A test whether a difference is found. There is nothing to ship or to choose. */
function aaSentence(answer: ReportAnswer): string {
  const compared = (['primary', 'guardrail'] as const).flatMap((role) => decidingOf(answer, role))
  const differing = compared.filter(({ comparison }) => comparison.verdict !== 'undecided')
  if (differing.length > 0) {
    const where = differing.map(({ metric, comparison }) => `${metric.name} in ${comparison.variantName}`)
    return `This is an A/A test, but the variants differ (${listed(where)}): look for the fault, and ship nothing.`
  }
  if (compared.every(({ comparison }) => comparison.decidedBy === null))
    return 'This is an A/A test: too little is known to compare the variants.'
  return answer.decision.outcome === 'continue'
    ? 'This is an A/A test: no difference between the variants is found so far, as it should be. Keep going.'
    : 'This is an A/A test: no difference between the variants is found, as it should be.'
}

/** Says what another question than the planned one finds. */
function departingSentence({ outcome, variantName, variants }: Decision): string {
  const by = 'By this question, which is not the planned one,'
  const { treatments } = ownOf(outcome, variants)
  switch (outcome) {
    case 'ship':
      return `${by} ${variantName} is better: do not decide by it.`
    case 'stop':
      return `${by} ${harmful(variants)} does harm: do not decide by it.`
    case 'no_difference':
      return `${by} ${treatments} and the control do not differ by an effect worth finding: do not decide by it.`
    default:
      return `${by} nothing is decided.`
  }
}

function plannedSentence(answer: ReportAnswer): string {
  const { outcome, variantName, variants } = answer.decision
  switch (outcome) {
    case 'ship':
      return `Ship ${variantName}.`
    case 'stop':
      return `Stop: ${harmful(variants)} does harm.`
    case 'no_difference':
      return sameSentence(answer)
    case 'inconclusive':
      return untoldSentence(answer)
    default: {
      const held = heldBack(answer).map(heldText)
      return `Keep going: ${held.length > 0 ? held.join('; ') : 'nothing is decided yet'}.`
    }
  }
}

const harmful = (variants: readonly VariantDecision[]) =>
  variants.length === 1 ? variants[0]?.variantName : 'every treatment'

/** Returns the treatments that have the outcome of the whole: the report lists each treatment if treatments differ. */
function ownOf(outcome: Decision['outcome'], variants: readonly VariantDecision[]) {
  const same = variants.filter((variant) => variant.outcome === outcome)
  const own = same.length > 0 ? same : variants
  return { own, treatments: listed(own.map((variant) => variant.variantName)) }
}

/** Without a difference, an open guardrail still speaks for the control. */
function sameSentence(answer: ReportAnswer): string {
  const { own, treatments } = ownOf('no_difference', answer.decision.variants)
  const none = `No difference worth finding between ${treatments} and the control`
  const open = own.flatMap((variant) => {
    const guardrails = openGuardrails(answer, variant)
    return guardrails.length > 0 ? [{ ...variant, guardrails }] : []
  })
  if (open.length === 0) return `${none}: choose by cost or taste.`
  const texts = open.map(({ variantName, guardrails }) => `${openText(guardrails)} in ${variantName}`)
  const others = open.length < own.length ? ' Choose among the others by cost or taste.' : ''
  return `${none}, but ${listed(texts)}: keep the control there, unless you accept that.${others}`
}

/** Says which treatments are better but for an open guardrail, and of which nothing is known. */
function untoldSentence(answer: ReportAnswer): string {
  const { own } = ownOf('inconclusive', answer.decision.variants)
  const held = heldBack(answer)
  const rest = own.filter(({ variantId }) => !held.some((one) => one.variantId === variantId))
  const names = listed(rest.map(({ variantName }) => variantName))
  const untold = `the run does not tell whether ${names} ${rest.length > 1 ? 'are' : 'is'} better or worse`
  const known = [...held.map(heldText), ...(rest.length > 0 ? [untold] : [])]
  return `Not decided: ${known.join('; ')}.`
}

type Held = Pick<VariantDecision, 'variantId' | 'variantName'> & { gains: string[]; guardrails: string[] }

/** Lists the treatments of the outcome of the whole that only open guardrails hold back. */
function heldBack(answer: ReportAnswer): Held[] {
  const { outcome, variants, verdicts } = answer.decision
  return ownOf(outcome, variants).own.flatMap((variant) => {
    const { variantId, variantName } = variant
    const better = verdicts.filter((one) => one.variantId === variantId && one.verdict === 'better')
    const gains = better.map(({ key }) => answer.metrics.find((metric) => metric.key === key)?.name ?? key)
    const guardrails = openGuardrails(answer, variant)
    return gains.length > 0 && guardrails.length > 0 ? [{ variantId, variantName, gains, guardrails }] : []
  })
}

const heldText = ({ variantName, gains, guardrails }: Held) =>
  `${variantName} is better in ${listed(gains)}, but ${openText(guardrails)}`

/** Names the guardrails that a treatment is not shown to pass. After the end, one without events holds back nothing. */
const openGuardrails = (answer: ReportAnswer, { variantId, outcome }: VariantDecision): string[] =>
  decidingOf(answer, 'guardrail')
    .filter(({ comparison }) => comparison.variantId === variantId)
    .filter(({ comparison: { guardrail } }) => guardrail === null || guardrail.verdict === 'inconclusive')
    .filter(({ comparison: { guardrail } }) => outcome === 'continue' || !guardrail?.hasNoEvents)
    .map(({ metric }) => metric.name)

const openText = (guardrails: readonly string[]) =>
  guardrails.length > 1
    ? `the guardrails ${listed(guardrails)} are open (not shown to be within their margins)`
    : `the guardrail ${listed(guardrails)} is open (not shown to be within its margin)`
