import { z } from 'zod'
import type { ExclusionCount } from '../analysis/exclusions.ts'
import type { SnakeCase } from '../analysis/snake-case.ts'
import { analysisMethod } from '../experiments/settings-schema.ts'
import { direction, role } from '../metrics/schema.ts'
import { comparand, id, instant, label, optional, storedObject, timestamp, withDefault } from '../wire.ts'

const share = z.number().gt(0).lt(1)

export const documentedQuestion = {
  experiment_id: id,
  conversion_event_type: withDefault(label(), 'conversion'),
  confidence_level: withDefault(share, 0.95),
  significance_threshold: withDefault(share, 0.05),
  interval_method: optional(z.enum(['wilson', 'wald'])).meta({ description: 'wilson unless given' }),
}
export const furtherQuestion = {
  run: optional(z.int().positive().max(2_147_483_647)).meta({ description: 'Its number; the latest unless given' }),
  method: optional(analysisMethod).meta({ description: 'As planned unless given' }),
  metrics: optional(z.array(label(100)).min(1).max(50)).meta({
    description: 'Keys of those of its metrics that are asked for; all unless given',
    examples: [['revenue-per-user']],
  }),
  event_types: optional(z.array(label()).max(20)).meta({
    description: 'Further types of events to look at as secondary metrics: users with an event',
    examples: [['signup']],
  }),
  window_hours: optional(
    z
      .number()
      .gt(0)
      .max(366 * 24),
  ).meta({
    description: 'Only events within so many hours after the exposure, for every metric; read from events',
  }),
  from: optional(instant).meta({ description: 'Only users who met a variant from then on; read from events' }),
  to: optional(instant).meta({ description: 'Only users and events before then; read from events' }),
  as_of: optional(instant).meta({ description: 'Only what had been received before then; read from events' }),
  dimension: optional(label(100)).meta({
    description: 'Break down by country_code, is_premium or a declared dimension: exploratory, never a decision',
    examples: ['country_code'],
  }),
  where: optional(z.record(label(100), z.union([comparand, z.number(), z.boolean()]))).meta({
    description:
      'Only users with these values: of declared dimensions as at the decision, one alone from totals; of other attributes as in the profile, read from events',
    examples: [{ country_code: 'US' }],
  }),
  segment_id: optional(id).meta({ description: 'Only hand-made members of a segment; read from events' }),
}
export const getResults = z.object({ ...documentedQuestion, ...furtherQuestion }).meta({
  id: 'GetResults',
  examples: [{ conversion_event_type: 'conversion', confidence_level: 0.95, significance_threshold: 0.05 }],
})
export type GetResults = z.output<typeof getResults>

export const figure = z.number().nullable()
export const interval = z
  .object({ lower: figure, upper: figure })
  .meta({ id: 'ResultInterval', description: 'null: unbounded' })

export const variantResult = z
  .object({
    variant_id: id,
    variant_name: z.string(),
    is_control: z.boolean(),
    total_users: z.int().meta({ description: 'Distinct exposed users' }),
    conversions: z.int().meta({ description: 'Distinct converting users' }),
    conversion_rate: z.number().meta({ description: 'Per cent' }),
    confidence_interval: z.object({ lower: z.number(), upper: z.number() }).meta({ description: 'Per cent' }),
    p_value: z.number().nullable(),
    is_significant: z.boolean().nullable(),
    relative_uplift: z.number().nullable().meta({ description: 'Per cent of the control' }),
    small_sample: z.boolean().optional(),
    exact_p_value: z.number().optional().meta({ description: "Fisher's exact test, where the sample is small" }),
  })
  .meta({ id: 'VariantResult' })
export const winner = z
  .object({ variant_id: id, variant_name: z.string(), relative_uplift: z.number() })
  .meta({ id: 'Winner' })

const ratioShape = {
  status: z.enum(['ok', 'no_data', 'unexpected_variant', 'single_variant', 'zero_variance']),
  chi_square: figure,
  degrees_of_freedom: z.int(),
  p_value: z.number().meta({ description: 'Of a chi-square test, for a planned end' }),
  is_mismatch: z.boolean(),
}
const sequentialPValue = figure.meta({
  description: 'May be looked at whenever one likes; what blocks until the run ends',
})
const ratioCheck = z.object({ ...ratioShape, sequential_p_value: sequentialPValue }).meta({ id: 'RatioCheck' })
const cause = z
  .object({
    by: z
      .string()
      .meta({ description: 'day, source, exposure_source, segment, or a dimension', examples: ['country_code'] }),
    value: z.string(),
    of: z.enum(['assigned', 'exposed']),
    p_value: z.number().meta({ description: 'Of these users alone, times how many values were looked at' }),
    explains_all: z.boolean().meta({ description: 'Whether everybody else agrees with the allocation' }),
    variants: z.array(z.object({ variant_id: id, users: z.int(), expected: z.number() })),
  })
  .meta({ id: 'MismatchCause' })
const sampleRatios = z
  .object({
    assigned: ratioCheck.meta({ description: 'Whether the draw is right' }),
    exposed: ratioCheck.meta({ description: 'Whether exposures are recorded alike' }),
    exclusions: z
      .object(ratioShape)
      .meta({ id: 'ExclusionCheck', description: 'Whether users are left out of the variants at the same rate' }),
    causes: z.array(cause),
  })
  .meta({ id: 'SampleRatios' })

const level = z
  .object({
    variant_id: id,
    users: z.int(),
    converted: z.int().meta({ description: 'Users with an event' }),
    events: z.int(),
    unusable: z.int().meta({ description: 'Events without the number that was to be read' }),
    capped: z.int().meta({ description: 'Users whose value was capped' }),
    level: figure.meta({
      description: 'A rate as a fraction, a mean, a ratio or a quantile, in the unit of the metric',
    }),
    standard_error: figure,
    interval: interval.nullable(),
  })
  .meta({ id: 'MetricLevel' })
export const comparison = z
  .object({
    variant_id: id,
    status: z.enum(['ok', 'no_data', 'insufficient_data', 'zero_variance', 'zero_baseline', 'zero_denominator']),
    reason: z.string().nullable(),
    difference: figure.meta({ description: 'Treatment - control, in the unit of the metric' }),
    standard_error: figure,
    interval: interval.nullable(),
    p_value: figure,
    p_value_adjusted: figure.meta({
      description: 'Primary metrics together by Holm, secondary ones by Benjamini and Hochberg; guardrails: null',
    }),
    uplift: z
      .object({ value: z.number(), interval: interval.nullable(), method: z.enum(['fieller', 'delta', 'mover']) })
      .nullable()
      .meta({ description: 'Relative to the control: 0.1 is 10 % more' }),
    always_valid: z
      .object({
        p_value: z.number(),
        p_value_adjusted: figure,
        interval,
        uplift_interval: interval.nullable(),
      })
      .nullable()
      .meta({ description: 'Right however often one looks; null below 100 users in a variant' }),
    bayesian: z
      .object({
        probability_better: z.number(),
        interval,
        expected_loss: z
          .number()
          .meta({ description: 'What choosing the treatment costs on average, if it is the worse one' }),
        expected_loss_control: z.number(),
      })
      .nullable(),
    cuped: z
      .object({ theta: z.number(), variance_reduction: figure })
      .nullable()
      .meta({ description: 'How much of the variance the time before the exposure explains; null: not adjusted' }),
    guardrail: z
      .object({ verdict: z.enum(['failed', 'passed', 'inconclusive']), p_value: figure, bound: figure })
      .nullable(),
    periods_used: z.int(),
    users_left_out: z.int().meta({ description: 'Of allocation periods with fewer than two users in a variant' }),
  })
  .meta({ id: 'MetricComparison' })
export const metricResult = z
  .object({
    key: z.string(),
    name: z.string(),
    version: z.int().nullable().meta({ description: 'Of its definition; null for a type of events' }),
    role,
    kind: z.enum(['proportion', 'mean', 'ratio', 'quantile']),
    direction,
    status: z.enum(['ready', 'computing']),
    source: z.enum(['totals', 'users', 'events']).meta({ description: 'Where it was read from' }),
    cost: z
      .object({ milliseconds: z.number(), users: z.int() })
      .nullable()
      .meta({ description: 'What reading users or events took; null from totals' }),
    caps: z.object({ outcome: figure, covariate: figure }).nullable(),
    variants: z.array(level),
    comparisons: z.array(comparison),
  })
  .meta({ id: 'MetricResult' })

const outcome = z.enum(['ship', 'stop', 'continue', 'blocked'])
export const decision = z
  .object({
    outcome: outcome.meta({
      description:
        'ship a variant; stop: each does harm; continue: nothing is known yet; blocked: the data cannot be trusted',
    }),
    variant_id: id.nullable().meta({ description: 'What to ship' }),
    reasons: z.array(z.string()),
    days_left: z.int().nullable().meta({ description: 'Until the planned users are there, at the pace so far' }),
    variants: z.array(z.object({ variant_id: id, outcome, reasons: z.array(z.string()) })),
    verdicts: z
      .array(z.object({ key: z.string(), variant_id: id, verdict: z.enum(['better', 'worse']) }))
      .meta({ description: 'What primary metrics say significantly, whether or not that may be acted upon' }),
  })
  .meta({ id: 'ResultDecision' })

const exclusionCounts = {
  crossovers: z.int().meta({ description: 'Users seen with two variants: left out of the analysis' }),
  overridden: z
    .int()
    .meta({ description: 'Users on whom a variant was forced during the run: left out of the analysis' }),
  excluded_by_hand: z.int().meta({ description: 'Users left out by hand' }),
  excluded_by_attribute: z.int().meta({ description: 'Users left out because is_bot or is_internal is true' }),
  excluded_by_rate: z
    .int()
    .meta({ description: 'Users left out because of more events on a day than max_daily_events' }),
} satisfies Record<SnakeCase<ExclusionCount>, z.ZodType>

export const results = z
  .object({
    experiment_id: id,
    experiment_name: z.string(),
    conversion_event_type: z.string(),
    confidence_level: z.number(),
    significance_threshold: z.number(),
    run: z.int().nullable().meta({ description: 'Number of the run that is reported; null before the first' }),
    data_through: timestamp.nullable().meta({
      description:
        'null: everything stored is counted. A time while much is waiting to be counted: everything received before it is',
    }),
    variants: z.array(variantResult),
    winner: winner.nullable(),
    externally_decided: z
      .int()
      .meta({ description: 'Users whose variant an event named before the platform was asked' }),
    claimed_other: z.int().meta({
      description: 'Users of whom events name another variant than the platform gave them: they stay in theirs',
    }),
    ...exclusionCounts,
    state: z.enum(['live', 'settling', 'frozen']).meta({
      description:
        'settling: the run has ended, and what comes late still counts; frozen: the answer never changes again',
    }),
    frozen_at: timestamp.nullable(),
    method: analysisMethod,
    planned_users: z.int().nullable(),
    engine_version: z.string(),
    decision,
    warnings: z.array(z.string()).meta({ description: 'What to know before believing any of it, in sentences' }),
    sample_ratio: sampleRatios,
    metrics: z
      .array(metricResult)
      .meta({ description: 'What decides, is looked at, and must not get worse, in this order' }),
    segments: z
      .array(z.object({ dimension: z.string(), value: z.string(), metrics: z.array(metricResult) }))
      .nullable()
      .meta({ description: 'The breakdown asked for; p-values are corrected over all values of a metric' }),
  })
  .meta({ id: 'Results' })
export type Results = z.output<typeof results>

export const freezeResults = z.object({ experiment_id: id, run: furtherQuestion.run }).meta({ id: 'FreezeResults' })
export type FreezeResults = z.output<typeof freezeResults>
export const frozenResults = z
  .object({
    statistics: storedObject.meta({ description: 'Sufficient statistics, by variant and allocation period' }),
    answer: storedObject.meta({ description: 'What was answered when they were frozen' }),
    late_events: z.int().meta({
      description: 'Events that name the experiment, happened during the run, and were received after it was frozen',
    }),
  })
  .meta({ id: 'FrozenResults' })
export type FrozenExport = z.output<typeof frozenResults>
