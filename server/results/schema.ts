import { z } from 'zod'
import type { ExclusionCount } from '../analysis/exclusions.ts'
import type { SnakeCase } from '../analysis/snake-case.ts'
import { analysisMethod, crossoverRule } from '../experiments/settings-schema.ts'
import { direction, role } from '../metrics/schema.ts'
import { id, storedObject, timestamp } from '../wire.ts'
import { comparison } from './comparison-schema.ts'
import { decision } from './decision-schema.ts'
import { variantResult, winner } from './documented-schema.ts'
import { figure, interval, variantName } from './part-schema.ts'
import { sampleRatios } from './ratio-schema.ts'

const level = z
  .object({
    variant_id: id.meta({ description: 'Id of the variant' }),
    variant_name: variantName,
    users: z.int().meta({ description: 'Number of analysed users' }),
    converted: z.int().meta({ description: 'Number of users with an event' }),
    events: z.int().meta({ description: 'Number of events of these users' }),
    unusable: z.int().meta({ description: 'Number of events whose property is not a usable number' }),
    missing: z
      .int()
      .optional()
      .meta({ description: 'Number of events without the property that the metric adds up or ranks' }),
    immature: z.int().optional().meta({
      description:
        'Number of exposed users whose window is not over. Retention, and every metric with complete_windows, does not count them in users',
    }),
    capped: z.int().meta({ description: 'Number of users whose value was capped' }),
    level: figure.meta({
      description: 'A rate as a fraction (0.12 is 12 %), a mean, a ratio or a quantile, in the unit of the metric',
    }),
    standard_error: figure.meta({ description: 'Standard error of level, in the unit of level' }),
    interval: interval.nullable().meta({ description: 'Interval of level at confidence_level, in the unit of level' }),
  })
  .meta({ id: 'MetricLevel' })
const metricResult = z
  .object({
    key: z.string().meta({ description: 'Key of the metric, or the event type' }),
    name: z.string().meta({ description: 'Name of the metric, or the event type' }),
    version: z.int().nullable().meta({ description: 'Version of the definition; null for an event type' }),
    role: role.meta({ description: 'Primary metrics and guardrails decide; secondary metrics explain' }),
    kind: z
      .enum(['proportion', 'mean', 'ratio', 'quantile'])
      .meta({ description: 'Of a proportion, levels and differences are fractions of users: 0.12 is 12 %' }),
    direction: direction.meta({ description: 'The direction that is good' }),
    margin: z
      .object({
        type: z
          .enum(['relative', 'absolute'])
          .meta({ description: 'relative: size is a share of the control; absolute: in the unit of the metric' }),
        size: z.number().meta({ description: 'The size of the margin: 0.05 is 5 % of the control if relative' }),
      })
      .optional()
      .meta({
        description:
          'How much worse a guardrail may be: a fraction of the control (0.05 is 5 %), or in the unit of the metric. ' +
          'Absent in answers that versions before 0.2 froze',
      }),
    status: z
      .enum(['ready', 'computing'])
      .meta({ description: 'computing: events recorded before the metric was added are still being counted' }),
    source: z.enum(['totals', 'users', 'events']).meta({ description: 'What the metric was read from' }),
    cost: z
      .object({
        milliseconds: z.number().meta({ description: 'Time that reading took, in milliseconds' }),
        users: z.int().meta({ description: 'Number of users that were read' }),
      })
      .nullable()
      .meta({ description: 'Cost of reading users or events; null where totals were read' }),
    caps: z
      .object({
        outcome: figure.meta({ description: 'Largest counted value of a user' }),
        covariate: figure.meta({ description: 'Largest counted value before exposure' }),
        outcome_floor: figure.optional().meta({ description: 'Smallest counted value of a user' }),
        covariate_floor: figure.optional().meta({ description: 'Smallest counted value before exposure' }),
        is_zero: z
          .boolean()
          .optional()
          .meta({ description: 'A quantile is 0, and not applied: it would erase the values' }),
      })
      .nullable()
      .meta({ description: 'The limits of values per user, and of values before exposure, in the unit of the metric' }),
    variants: z.array(level).meta({ description: 'The level in each variant, control first' }),
    comparisons: z.array(comparison).meta({ description: 'Each treatment against the control' }),
  })
  .meta({ id: 'MetricResult' })

const departure = z.enum([
  'method',
  'confidence_level',
  'crossovers',
  'users',
  'segment',
  'period',
  'as_of',
  'window',
  'complete_windows',
  'metrics',
  'after_freezing',
])

const exclusionCounts = {
  crossovers: z
    .int()
    .meta({ description: 'Number of users who met two variants; crossover_rule says whether they are analysed' }),
  overridden: z
    .int()
    .meta({ description: 'Number of users whose variant was overridden during the run; excluded from the analysis' }),
  excluded_by_hand: z.int().meta({ description: 'Number of users excluded by hand' }),
  excluded_by_attribute: z
    .int()
    .meta({ description: 'Number of users excluded because is_bot or is_internal is true' }),
  excluded_by_rate: z
    .int()
    .meta({ description: 'Number of users excluded because they had more than max_daily_events events on a day' }),
} satisfies Record<SnakeCase<ExclusionCount>, z.ZodType>

export const results = z
  .object({
    experiment_id: id.meta({ description: 'Id of the experiment' }),
    experiment_name: z.string().meta({ description: 'Name of the experiment' }),
    conversion_event_type: z.string().meta({ description: 'The type of event that variants and winner count' }),
    confidence_level: z.number().meta({ description: 'Coverage of all intervals, a fraction: 0.95 is 95 %' }),
    significance_threshold: z
      .number()
      .meta({ description: 'p_value below which variants are significant, a fraction: 0.05 is 5 %' }),
    run: z.int().nullable().meta({ description: 'Number of the reported run; null before the first run' }),
    mode: z.enum(['ab', 'aa']).nullable().meta({
      description:
        'ab: variants are compared; aa: all users see the control, so that a difference is chance or a fault. null in answers that versions before 0.2 froze',
    }),
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
    variants: z.array(variantResult).meta({
      description:
        'The documented fields of each variant, in per cent, by ascending id; all other fields are fractions',
    }),
    winner: winner.nullable(),
    externally_decided: z
      .int()
      .meta({ description: 'Number of users whose variant an event named before the platform assigned one' }),
    claimed_other: z.int().meta({
      description:
        'Number of users with events that name another variant than the assigned one; they count in the assigned variant',
    }),
    ...exclusionCounts,
    state: z.enum(['live', 'settling', 'frozen']).meta({
      description:
        'live: the run goes on; settling: the run has ended, and late events still count; frozen: the answer never changes again',
    }),
    frozen_at: timestamp.nullable().meta({ description: 'Time of freezing; null unless frozen' }),
    method: analysisMethod.meta({ description: 'The method by which the decision reads the figures' }),
    planned_users: z
      .int()
      .nullable()
      .meta({ description: 'Planned number of users of all variants; null if none is planned' }),
    crossover_rule: crossoverRule.meta({
      description:
        'exclude: users who met two variants are left out. first: they count under the variant first assigned',
    }),
    departs: z.array(departure).nullable().meta({
      description:
        'In what the question departs from the plan: with anything here, look, and do not decide by the answer. null in answers that versions before 0.2 froze',
    }),
    engine_version: z.string().meta({ description: 'Version of the rules by which the answer was computed' }),
    seen_event_types: z
      .array(
        z.object({
          type: z.string().meta({ description: 'The type of the events' }),
          users: z.int().meta({ description: 'Number of these users who sent one' }),
          events: z.int().meta({ description: 'Number of events' }),
        }),
      )
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
    sample_ratio: sampleRatios.meta({
      description: 'Whether the variants have as many users as allocated, and exclude users at the same rate',
    }),
    metrics: z.array(metricResult).meta({ description: 'Primary, secondary and guardrail metrics, in this order' }),
    segments: z
      .array(
        z.object({
          dimension: z.string().meta({ description: 'The dimension by which users are broken down' }),
          value: z.string().meta({
            description:
              'The value that the users of the segment share; (other): all values but the 30 with the most users',
          }),
          metrics: z.array(metricResult).meta({ description: 'The metrics over these users' }),
        }),
      )
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
    digest: z.string().nullable().meta({
      description:
        'SHA-256 of statistics and answer, in hexadecimal digits, made when they were frozen; null where a version before 0.2 froze them',
    }),
    late_events: z.int().meta({
      description:
        'Events that name the experiment, happened during the run, and were received after the run was frozen',
    }),
  })
  .meta({ id: 'FrozenResults' })
export type FrozenExport = z.output<typeof frozenResults>
