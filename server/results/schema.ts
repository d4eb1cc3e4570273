import { z } from 'zod'
import type { ExclusionCount } from '../analysis/exclusions.ts'
import type { SnakeCase } from '../analysis/snake-case.ts'
import { analysisMethod, crossoverRule } from '../experiments/settings-schema.ts'
import { direction, role } from '../metrics/schema.ts'
import { id, storedObject, timestamp } from '../wire.ts'
import { comparison } from './comparison-schema.ts'
import { decision } from './decision-schema.ts'
import { figure, interval, variantName } from './part-schema.ts'

const variantResult = z
  .object({
    variant_id: id,
    variant_name: z.string(),
    is_control: z.boolean(),
    total_users: z.int().meta({ description: 'Distinct exposed users' }),
    conversions: z.int().meta({ description: 'Distinct converting users' }),
    conversion_rate: z.number().meta({ description: 'In per cent' }),
    confidence_interval: z.object({ lower: z.number(), upper: z.number() }).meta({ description: 'In per cent' }),
    p_value: z.number().nullable(),
    is_significant: z.boolean().nullable(),
    relative_uplift: z.number().nullable().meta({ description: 'In per cent of the control' }),
    small_sample: z.boolean().optional(),
    exact_p_value: z
      .number()
      .optional()
      .meta({ description: "P-value of Fisher's exact test; present where the sample is small" }),
  })
  .meta({ id: 'VariantResult' })
export const winner = z
  .object({ variant_id: id, variant_name: z.string(), relative_uplift: z.number() })
  .meta({ id: 'Winner' })

const ratioShape = {
  status: z.enum(['ok', 'no_data', 'unexpected_variant', 'single_variant', 'zero_variance']),
  chi_square: figure,
  degrees_of_freedom: z.int(),
  p_value: z
    .number()
    .meta({ description: 'P-value of the chi-square test; decides is_mismatch once the run has ended' }),
  is_mismatch: z.boolean(),
}
const sequentialPValue = figure.meta({
  description: 'Always-valid p-value; decides is_mismatch while the run goes on',
})
const ratioCheck = z.object({ ...ratioShape, sequential_p_value: sequentialPValue }).meta({ id: 'RatioCheck' })
const cause = z
  .object({
    by: z.string().meta({
      description: 'day, source, exposure_source, segment or the name of a dimension',
      examples: ['country_code'],
    }),
    value: z.string(),
    of: z.enum(['assigned', 'exposed']),
    p_value: z
      .number()
      .meta({ description: 'P-value of these users alone, times the number of tested values (Bonferroni)' }),
    explains_all: z.boolean().meta({ description: 'True if all other users agree with the allocation' }),
    variants: z.array(z.object({ variant_id: id, variant_name: variantName, users: z.int(), expected: z.number() })),
  })
  .meta({ id: 'MismatchCause' })
const sampleRatios = z
  .object({
    assigned: ratioCheck.meta({ description: 'Tests the numbers of assigned users' }),
    exposed: ratioCheck.meta({ description: 'Tests the numbers of exposed users' }),
    exclusions: z
      .object(ratioShape)
      .meta({ id: 'ExclusionCheck', description: 'Tests that every variant excludes users at the same rate' }),
    causes: z.array(cause),
  })
  .meta({ id: 'SampleRatios' })

const level = z
  .object({
    variant_id: id,
    variant_name: variantName,
    users: z.int(),
    converted: z.int().meta({ description: 'Users with an event' }),
    events: z.int(),
    unusable: z.int().meta({ description: 'Events whose property is not a usable number' }),
    missing: z.int().optional().meta({ description: 'Events without the property that the metric adds up or ranks' }),
    immature: z.int().optional().meta({
      description:
        'Exposed users whose window is not over. Retention, and every metric with complete_windows, does not count them in users',
    }),
    capped: z.int().meta({ description: 'Users whose value was capped' }),
    level: figure.meta({
      description: 'A rate (0 to 1), a mean, a ratio or a quantile, in the unit of the metric',
    }),
    standard_error: figure,
    interval: interval.nullable(),
  })
  .meta({ id: 'MetricLevel' })
const metricResult = z
  .object({
    key: z.string(),
    name: z.string(),
    version: z.int().nullable().meta({ description: 'Version of the definition; null for an event type' }),
    role,
    kind: z.enum(['proportion', 'mean', 'ratio', 'quantile']),
    direction,
    margin: z
      .object({ type: z.enum(['relative', 'absolute']), size: z.number() })
      .optional()
      .meta({
        description:
          'How much worse a guardrail may be: a fraction of the control (0.05 is 5 %), or in the unit of the metric. ' +
          'Absent in answers that versions before 0.2 froze',
      }),
    status: z.enum(['ready', 'computing']),
    source: z.enum(['totals', 'users', 'events']).meta({ description: 'What the metric was read from' }),
    cost: z
      .object({ milliseconds: z.number(), users: z.int() })
      .nullable()
      .meta({ description: 'Cost of reading users or events; null where totals were read' }),
    caps: z
      .object({
        outcome: figure,
        covariate: figure,
        outcome_floor: figure.optional(),
        covariate_floor: figure.optional(),
        is_zero: z
          .boolean()
          .optional()
          .meta({ description: 'A quantile is 0, and not applied: it would erase the values' }),
      })
      .nullable()
      .meta({ description: 'The limits of values per user, and of values before exposure, in the unit of the metric' }),
    variants: z.array(level),
    comparisons: z.array(comparison),
  })
  .meta({ id: 'MetricResult' })

const exclusionCounts = {
  crossovers: z
    .int()
    .meta({ description: 'Users who met two variants; crossover_rule says whether they are analysed' }),
  overridden: z
    .int()
    .meta({ description: 'Users whose variant was overridden during the run; excluded from the analysis' }),
  excluded_by_hand: z.int().meta({ description: 'Users excluded by hand' }),
  excluded_by_attribute: z.int().meta({ description: 'Users excluded because is_bot or is_internal is true' }),
  excluded_by_rate: z
    .int()
    .meta({ description: 'Users excluded because they had more than max_daily_events events on a day' }),
} satisfies Record<SnakeCase<ExclusionCount>, z.ZodType>

export const results = z
  .object({
    experiment_id: id,
    experiment_name: z.string(),
    conversion_event_type: z.string(),
    confidence_level: z.number(),
    significance_threshold: z.number(),
    run: z.int().nullable().meta({ description: 'Number of the reported run; null before the first run' }),
    started_at: timestamp.nullable().optional().meta({
      description: 'Start of the run; null before the first run. Absent in answers that versions before 0.2 froze',
    }),
    ended_at: timestamp.nullable().optional().meta({
      description: 'End of the run; null while the run goes on. Absent in answers that versions before 0.2 froze',
    }),
    data_through: timestamp.nullable().meta({
      description:
        'null: everything stored is counted. A time: everything received before it is counted; later events are being counted',
    }),
    variants: z.array(variantResult),
    winner: winner.nullable(),
    externally_decided: z
      .int()
      .meta({ description: 'Users whose variant an event named before the platform assigned one' }),
    claimed_other: z.int().meta({
      description:
        'Users with events that name another variant than the assigned one; they count in the assigned variant',
    }),
    ...exclusionCounts,
    state: z.enum(['live', 'settling', 'frozen']).meta({
      description:
        'live: the run goes on; settling: the run has ended, and late events still count; frozen: the answer never changes again',
    }),
    frozen_at: timestamp.nullable(),
    method: analysisMethod,
    planned_users: z.int().nullable(),
    crossover_rule: crossoverRule.optional().meta({
      description:
        'exclude: users who met two variants are left out. first: they count under the variant first assigned. ' +
        'Absent in answers that versions before 0.2 froze: exclude',
    }),
    engine_version: z.string(),
    seen_event_types: z
      .array(z.object({ type: z.string(), users: z.int(), events: z.int() }))
      .nullable()
      .optional()
      .meta({
        description:
          'The types of events that users sent since exposure, where a metric saw no event of any variant: of 1,000 users, at most 50 events each. null where every metric saw events',
      }),
    decision,
    warnings: z
      .array(z.string())
      .meta({ description: 'Sentences to read before the figures; those that block the decision come first' }),
    sample_ratio: sampleRatios,
    metrics: z.array(metricResult).meta({ description: 'Primary, secondary and guardrail metrics, in this order' }),
    segments: z
      .array(z.object({ dimension: z.string(), value: z.string(), metrics: z.array(metricResult) }))
      .nullable()
      .meta({
        description: 'The breakdown; p-values of a metric are adjusted over all segments. null without dimension',
      }),
  })
  .meta({ id: 'Results' })
export type Results = z.output<typeof results>

export const frozenResults = z
  .object({
    statistics: storedObject.meta({ description: 'Sufficient statistics by variant and allocation period' }),
    answer: storedObject.meta({ description: 'The frozen answer' }),
    late_events: z.int().meta({
      description:
        'Events that name the experiment, happened during the run, and were received after the run was frozen',
    }),
  })
  .meta({ id: 'FrozenResults' })
export type FrozenExport = z.output<typeof frozenResults>
