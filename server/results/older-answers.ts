import type { SentAnswer } from './frozen.ts'

/**
 * Completes answers that older versions froze: every field of the present contract is there, and a field that the
 * version did not know says that nothing is known. No figure that was sent is changed.
 */

/** An answer of any version: what its version did not know is absent. */
// biome-ignore lint/suspicious/noExplicitAny: the shapes of older versions are not typed
type Older = any

const NOT_COMPARED = {
  levels: null,
  is_small_sample: false,
  balance: null,
  verdict: 'undecided',
  decided_by: null,
  look: null,
}
const NOT_READ = { immature: null, missing: 0, largest: null }

export function completed(sent: SentAnswer): SentAnswer {
  const older = sent as Older
  const names = new Map<number, string>(older.variants.map((one: Older) => [one.variant_id, one.variant_name]))
  const named = (part: Older) => ({ variant_name: names.get(part.variant_id) ?? null, ...part })
  const decided = (part: Older) => ({ decided_at: null, decided_users: null, ...named(part) })
  const { decision, segments } = older
  return {
    mode: null,
    departs: null,
    started_at: null,
    ended_at: null,
    // Earlier versions always left crossovers out.
    crossover_rule: 'exclude',
    ...older,
    decision: {
      next_look_at_users: null,
      harms: [],
      ...decided(decision),
      variants: decision.variants.map(decided),
      verdicts: decision.verdicts.map(named),
    },
    sample_ratio: {
      ...older.sample_ratio,
      assigned: { variants: null, ...older.sample_ratio.assigned },
      exposed: { variants: null, ...older.sample_ratio.exposed },
      exclusions: { sequential_p_value: null, ...older.sample_ratio.exclusions },
      causes: older.sample_ratio.causes.map((cause: Older) => ({ ...cause, variants: cause.variants.map(named) })),
    },
    metrics: older.metrics.map((metric: Older) => metricOf(metric, named)),
    segments:
      segments?.map((segment: Older) => ({
        ...segment,
        metrics: segment.metrics.map((metric: Older) => metricOf(metric, named)),
      })) ?? null,
  } as SentAnswer
}

const metricOf = (metric: Older, named: (part: Older) => Older) => ({
  ...NOT_READ,
  ...metric,
  variants: metric.variants.map((level: Older) => ({ missing: 0, immature: 0, ...named(level) })),
  comparisons: metric.comparisons.map((comparison: Older) => comparisonOf(named(comparison))),
})

const comparisonOf = (comparison: Older) => ({
  ...NOT_COMPARED,
  ...comparison,
  gate: comparison.gate ? { events: null, ...comparison.gate } : null,
  uplift: comparison.uplift && { reason: null, ...comparison.uplift },
  always_valid: comparison.always_valid && {
    uplift_reason: null,
    is_contradicted: false,
    reason: null,
    ...comparison.always_valid,
  },
  bayesian: comparison.bayesian && { posterior: 'normal', prior: null, ...comparison.bayesian },
  cuped: comparison.cuped && { unadjusted: { difference: null, interval: null }, ...comparison.cuped },
  guardrail: comparison.guardrail && {
    reason: null,
    is_non_inferior: comparison.guardrail.verdict === 'passed',
    harm: { is_worse: comparison.guardrail.verdict === 'failed', p_value: null },
    has_no_events: false,
    ...comparison.guardrail,
  },
})
