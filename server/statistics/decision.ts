/** The verdict on a treatment in one metric, after the correction for multiple comparisons. */
export type Verdict = { metric: string; isBetter: boolean; isWorse: boolean }
export type Guardrail = { metric: string; verdict: 'failed' | 'passed' | 'inconclusive' }

/**
 * `ship`: release the treatment. `stop`: the treatment does harm. `continue`: the evidence does not suffice yet.
 * `blocked`: the data cannot be trusted.
 */
type Decision = { decision: 'ship' | 'stop' | 'continue' | 'blocked'; reasons: string[] }

/**
 * Decides what to do with one treatment. The rules apply in this order: problems with the data, a condition that is not
 * met yet, harm, missing gains, guardrails without a verdict.
 * @param options.problems problems with the data, each by name. Any problem blocks the decision
 * @param options.waitsFor the condition that must be met before the analysis may be read; null if the condition is met
 * @see docs/inference.md, "Decisions"
 */
export function decide(options: {
  problems: readonly string[]
  waitsFor: string | null
  primaries: readonly Verdict[]
  guardrails: readonly Guardrail[]
}): Decision {
  const { problems, waitsFor, primaries, guardrails } = options
  const named = (items: readonly { metric: string }[], what: string) => items.map(({ metric }) => `${metric} ${what}`)
  if (problems.length > 0) return { decision: 'blocked', reasons: [...problems] }
  if (waitsFor !== null) return { decision: 'continue', reasons: [waitsFor] }
  const harm = [
    ...named(
      primaries.filter(({ isWorse }) => isWorse),
      'is significantly worse',
    ),
    ...named(
      guardrails.filter(({ verdict }) => verdict === 'failed'),
      'is significantly worse',
    ),
  ]
  if (harm.length > 0) return { decision: 'stop', reasons: harm }
  const gains = named(
    primaries.filter(({ isBetter }) => isBetter),
    'is significantly better',
  )
  const open = named(
    guardrails.filter(({ verdict }) => verdict === 'inconclusive'),
    'is not shown to be unharmed yet',
  )
  if (gains.length === 0)
    return { decision: 'continue', reasons: ['no primary metric is significantly better yet', ...open] }
  return open.length > 0 ? { decision: 'continue', reasons: open } : { decision: 'ship', reasons: gains }
}
