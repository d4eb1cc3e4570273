import { z } from 'zod'
import { definitionKey, experimentRef, metricRef } from '../definitions/reference-schema.ts'
import { ignored, updateOf } from '../fields.ts'
import {
  belowOne,
  changeable,
  clearable,
  id,
  jsonObject,
  label,
  name,
  namedPage,
  optional,
  storedObject,
  text,
  timestamp,
  withDefault,
} from '../wire.ts'

const DAY_LIMIT = 366

const eventType = label().meta({ description: 'The type of the events that count', examples: ['purchase'] })
const property = label(100).meta({
  description:
    'The numeric property of an event that is added up or ranked: its name, or a dotted path (order.total) into nested objects',
  examples: ['amount'],
})
const filter = clearable(jsonObject).meta({
  description:
    'Conditions on the properties of events: a value per property, or $eq, $ne, $in, $nin, $gt, $gte, $lt, $lte, $exists; null: all events count',
  examples: [{ currency: 'USD', amount: { $gte: 1 } }],
})
export const direction = z.enum(['increase', 'decrease']).meta({ description: 'The direction of a good change' })

const common = {
  any_tag: withDefault(z.boolean(), false).meta({
    description:
      'true: events that name another experiment count, too; false: only events that name this experiment or none',
  }),
  direction: withDefault(direction, 'increase'),
  minimum_detectable_effect: clearable(z.number().gt(0).max(10)).meta({
    description: 'The smallest relative uplift worth finding; planning aims at it',
    examples: [0.05],
  }),
  guardrail_margin: clearable(
    z
      .strictObject({ type: z.enum(['relative', 'absolute']), size: z.number().gt(0).max(1e12) })
      .meta({ examples: [{ type: 'relative', size: 0.05 }] }),
  ).meta({
    description:
      'How much worse a guardrail may be: a share of the control (relative), or in the unit of the metric (absolute); default 5 % of the control',
  }),
  prior: clearable(
    z
      .strictObject({ mean: z.number().min(-1).max(10), sd: z.number().gt(0).max(10) })
      .meta({ examples: [{ mean: 0, sd: 0.1 }] }),
  ).meta({
    description:
      'The normal prior of the relative uplift in a Bayesian analysis: its mean and its standard deviation (0.1 is 10 % of the control); null: flat',
  }),
}
const window = clearable(
  z
    .number()
    .gt(0)
    .max(DAY_LIMIT * 24),
).meta({
  description:
    "Only events within so many hours after the exposure, also after the run's end; null: until the run's end",
  examples: [168],
})
const covariate = withDefault(z.int().min(0).max(90), 14).meta({
  description: "CUPED adjusts each user's value by the same metric in these days before exposure; 0: no CUPED",
})
const cap = clearable(z.number().gt(0.5).lt(1, belowOne)).meta({
  description:
    'Values per user above this quantile of the values are set to the quantile; of a mean or a ratio, the numerators of users; null: no cap',
  examples: [0.99],
})
const floor = clearable(z.number().gt(0).lt(0.5)).meta({
  description:
    'Values per user below this quantile of the values, such as refunds, are set to the quantile; null: none',
  examples: [0.01],
})
const capOf = optional(z.enum(['all', 'nonzero'])).meta({
  description:
    "The values whose quantiles are cap and floor. nonzero, the default: the values other than 0, and users with 0 keep 0. all: all users' values; versions that were defined before the field existed have it",
})
const limits = { cap, floor, cap_of: capOf }
const oneType = { event_type: eventType, filter }

const part = z.strictObject({
  ...oneType,
  property: clearable(property).meta({ description: 'The property that is added up; null: events are counted' }),
})

export const metricDefinition = z
  .discriminatedUnion('type', [
    z.strictObject({
      type: z.literal('proportion'),
      ...oneType,
      window_hours: window,
      covariate_days: covariate,
      ...common,
    }),
    z.strictObject({
      type: z.literal('count'),
      ...oneType,
      window_hours: window,
      covariate_days: covariate,
      cap,
      cap_of: capOf,
      ...common,
    }),
    z.strictObject({
      type: z.literal('sum'),
      ...oneType,
      property,
      window_hours: window,
      covariate_days: covariate,
      ...limits,
      ...common,
    }),
    z.strictObject({
      type: z.literal('mean'),
      ...oneType,
      property,
      window_hours: window,
      covariate_days: covariate,
      ...limits,
      ...common,
    }),
    z.strictObject({
      type: z.literal('ratio'),
      numerator: part,
      denominator: part,
      window_hours: window,
      covariate_days: covariate,
      ...limits,
      ...common,
    }),
    z.strictObject({
      type: z.literal('retention'),
      ...oneType,
      day: z.int().min(1).max(DAY_LIMIT).meta({
        description: 'A user is retained with an event in the 24 hours that begin day x 24 hours after exposure',
      }),
      ...common,
    }),
    z.strictObject({
      type: z.literal('quantile'),
      ...oneType,
      property,
      quantile: z
        .number()
        .gt(0)
        .lt(1, belowOne)
        .meta({ examples: [0.95] }),
      window_hours: window,
      ...common,
    }),
  ])
  .superRefine((definition, { addIssue }) => {
    const { cap, floor, cap_of } = definition as { cap?: number | null; floor?: number | null; cap_of?: string }
    if (cap_of !== undefined && cap == null && floor == null)
      addIssue({ code: 'custom', path: ['cap_of'], message: 'needs a cap or a floor' })
  })
  .meta({
    id: 'MetricDefinition',
    description:
      'proportion: rate of users with an event; count: events per user; sum: sum of a property per user; mean: mean of a property over events; ratio: ratio of two sums or counts; retention: rate of users with an event on a day after exposure; quantile: quantile of a property over events',
    examples: [{ type: 'sum', event_type: 'purchase', property: 'amount', window_hours: 168, cap: 0.99 }],
  })
export type MetricDefinition = z.output<typeof metricDefinition>

export const role = z.enum(['primary', 'secondary', 'guardrail']).meta({
  description: 'primary: decides; secondary: is reported only; guardrail: must not get worse',
})
export type Role = z.output<typeof role>

export const metric = z
  .object({
    id,
    key: z.string(),
    name: z.string(),
    description: z.string().nullable(),
    version: z.int(),
    definition: storedObject.meta({ description: 'The definition as given, with defaults' }),
    created_at: timestamp,
  })
  .meta({ id: 'Metric' })
export type MetricAnswer = z.output<typeof metric>
export const metricVersion = z
  .object({ version: z.int(), definition: storedObject, created_at: timestamp })
  .meta({ id: 'MetricVersion' })

export const createMetric = z
  .strictObject({
    key: optional(definitionKey).meta({
      description: 'Unique key, which results and questions name; derived from the name by default',
      examples: ['revenue-per-user'],
    }),
    name: name.meta({ examples: ['Revenue per user'] }),
    description: optional(text),
    definition: metricDefinition,
  })
  .meta({ id: 'CreateMetric' })
export type CreateMetric = z.output<typeof createMetric>
export const listMetrics = namedPage
export const metricId = z.strictObject({ metric_id: metricRef })
export const updateMetric = updateOf(metric, {
  metric_id: metricRef,
  name: changeable(name).meta({ examples: ['Revenue per user, first week'] }),
  description: clearable(text).meta({ description: 'null clears it' }),
  definition: changeable(metricDefinition).meta({
    description: 'A changed definition makes the next version; refused while the metric measures an unfrozen run',
  }),
}).meta({ id: 'UpdateMetric' })
export type UpdateMetric = z.output<typeof updateMetric>

export const attachedMetric = z
  .object({
    metric_id: id,
    key: z.string(),
    name: z.string(),
    version: z.int(),
    role,
    definition: storedObject,
    status: z.enum(['ready', 'computing']).meta({ description: 'computing: past events are being counted' }),
  })
  .meta({ id: 'AttachedMetric' })
export type AttachedMetric = z.output<typeof attachedMetric>
export const experimentMetrics = z.strictObject({ experiment_id: experimentRef })
export const setMetric = updateOf(attachedMetric, { metric_id: metricRef, role, status: ignored })
export const setMetrics = z
  .strictObject({
    experiment_id: experimentRef,
    metrics: z.array(setMetric).max(50).meta({ description: 'All metrics of the experiment, in the order of results' }),
  })
  .meta({ id: 'SetExperimentMetrics', examples: [{ metrics: [{ metric_id: 1, role: 'primary' }] }] })
export type SetMetrics = z.output<typeof setMetrics>
