import { z } from 'zod'
import { segment } from '../segments/schema.ts'
import {
  clearable,
  condition,
  distinct,
  id,
  instant,
  jsonObject,
  jsonValue,
  label,
  name,
  optional,
  page,
  percent,
  storedJson,
  storedObject,
  text,
  timestamp,
  valueType,
} from '../wire.ts'

export const status = z.enum(['draft', 'running', 'paused', 'completed', 'archived']).meta({ id: 'ExperimentStatus' })
export type Status = z.output<typeof status>
export const exposureMode = z.enum(['on_check', 'on_report']).meta({
  description: 'Whether a check exposes the user, or an event that reports what was shown',
})
export type ExposureMode = z.output<typeof exposureMode>

export const analysisMethod = z.enum(['sequential', 'fixed', 'bayesian']).meta({
  description:
    'sequential: valid however often one looks; fixed: once, at the planned size; bayesian: by the probability to be better, which does not protect against looking',
})
export type AnalysisMethod = z.output<typeof analysisMethod>
export const pauseReason = z.enum(['mismatch', 'harm'])
export type PauseReason = z.output<typeof pauseReason>

export const experimentKind = z.enum(['experiment', 'holdout']).meta({
  description: 'A holdout keeps a share of the users out of every experiment that names it',
})
export type ExperimentKind = z.output<typeof experimentKind>
export const experimentMode = z.enum(['ab', 'aa']).meta({
  description:
    'aa: everybody is shown the control (its name and payload), and only the variant_id tells the variants apart: what the results show then is noise, or a fault of the set-up',
})
export type ExperimentMode = z.output<typeof experimentMode>
export const onIneligible = z.enum(['keep', 'leave_out']).meta({
  description:
    'An assigned user who stops matching: keep the variant, or leave out until they match again (same variant, still in the analysis)',
})
export type OnIneligible = z.output<typeof onIneligible>
export const prerequisite = z.object({ experiment_id: id, variant_ids: z.array(id).min(1).max(100) }).meta({
  id: 'Prerequisite',
  description: 'Only users who are assigned to one of these variants of the other experiment',
})
export type Prerequisite = z.output<typeof prerequisite>
export const range = z
  .object({ from: percent.meta({ examples: [0] }), to: percent.meta({ examples: [50] }) })
  .refine(({ from, to }) => from < to, { path: ['to'], message: 'must be above from' })
  .meta({ id: 'Range', description: 'Positions of a layer in per cent, from inclusive, to exclusive' })

const key = z
  .string()
  .regex(/^[a-z0-9][a-z0-9_-]{0,99}$/, 'lower-case letters, digits, - and _, at most 100')
  .meta({ description: 'URL-safe and unique; derived from the name unless given', examples: ['new-checkout-flow'] })

export const experiment = z
  .object({
    id,
    name: z.string(),
    key: z.string(),
    description: z.string().nullable(),
    hypothesis: z.string().nullable(),
    status,
    version: z.int(),
    kind: experimentKind,
    mode: experimentMode,
    auto_start: z.boolean(),
    exposure: exposureMode,
    traffic_percent: z.number(),
    condition: storedObject.nullable(),
    on_ineligible: onIneligible,
    prerequisites: z.array(prerequisite),
    holdout_id: id.nullable(),
    layer_id: id.nullable(),
    layer_ranges: z.array(range),
    payload_type: valueType.nullable(),
    payload_schema: storedObject.nullable(),
    shipped_variant_id: id.nullable(),
    dimensions: z.array(z.string()),
    analysis_method: analysisMethod,
    planned_users: z.int().nullable(),
    planned_effect: z.number().nullable(),
    pause_on: z.array(pauseReason),
    max_daily_events: z.int().nullable(),
    scheduled_start_at: timestamp.nullable(),
    scheduled_end_at: timestamp.nullable(),
    created_at: timestamp,
    started_at: timestamp.nullable(),
    ended_at: timestamp.nullable(),
  })
  .meta({ id: 'Experiment' })

export const variant = z
  .object({
    id,
    experiment_id: id,
    name: z.string(),
    percent_allocated: z.number(),
    enabled: z.boolean(),
    is_control: z.boolean(),
    payload: storedJson.nullable(),
    created_at: timestamp,
  })
  .meta({ id: 'Variant' })

export const allocationPeriod = z
  .object({
    number: z.int(),
    from: timestamp,
    shares: z.array(z.object({ variant_id: id, percent_allocated: z.number(), enabled: z.boolean() })),
  })
  .meta({ id: 'AllocationPeriod' })
export const run = z
  .object({
    id,
    experiment_id: id,
    number: z.int(),
    started_at: timestamp,
    ended_at: timestamp.nullable(),
    frozen_at: timestamp.nullable(),
    periods: z.array(allocationPeriod),
  })
  .meta({ id: 'Run', description: 'One randomisation; a change of the effective shares opens a period of it' })

export const experimentDetail = experiment
  .extend({ variants: z.array(variant), segments: z.array(segment), runs: z.array(run) })
  .meta({ id: 'ExperimentDetail' })
export type ExperimentDetail = z.output<typeof experimentDetail>

const dimension = label(100)
const settings = {
  description: clearable(text),
  hypothesis: clearable(text),
  auto_start: optional(z.boolean()).meta({
    description: 'Whether the first check that names it starts it; true unless given or a start is scheduled',
  }),
  exposure: optional(exposureMode),
  traffic_percent: optional(percent).meta({
    description: 'Share of the eligible users that take part; 100 by default',
  }),
  condition: clearable(condition).meta({
    description: 'Who may take part, besides the segments (see docs/conditions.md); null: everybody',
  }),
  on_ineligible: optional(onIneligible),
  prerequisites: optional(z.array(prerequisite).max(20)).meta({ description: 'All of them must be met' }),
  holdout_id: clearable(id).meta({
    description: 'The holdout whose held users are kept out of this experiment; null: none',
  }),
  mode: optional(experimentMode),
  payload_type: clearable(valueType).meta({
    description: 'The type of every payload, for applications that read the experiment as a flag; null: any JSON value',
  }),
  dimensions: optional(distinct(z.array(dimension).max(10))).meta({
    description:
      'Attributes that results can be broken down by, beside country_code and is_premium: as they are at the decision, from now on',
    examples: [['plan']],
  }),
  analysis_method: optional(analysisMethod),
  planned_users: clearable(z.int().min(2).max(1_000_000_000)).meta({
    description: 'Users of all variants together that the analysis is planned for; locked while a run is unfinished',
  }),
  planned_effect: clearable(z.number().gt(0).max(10)).meta({
    description: 'The relative uplift of the primary metric that it is planned to find; locked likewise',
    examples: [0.05],
  }),
  pause_on: optional(distinct(z.array(pauseReason).max(2))).meta({
    description: 'Pause the experiment by itself where its users are mismatched, or where it does harm; [] by default',
  }),
  max_daily_events: clearable(z.int().min(1).max(1_000_000)).meta({
    description:
      'Whoever has more events than this on a day is left out of the results, whatever the variant; null: nobody',
  }),
  payload_schema: clearable(jsonObject).meta({
    description: 'A JSON Schema (2020-12) that payloads are checked against; null: none',
  }),
  scheduled_start_at: clearable(instant).meta({
    description:
      'When the platform starts the draft by itself, which then no check does unless auto_start says so; null: not by time',
  }),
  scheduled_end_at: clearable(instant).meta({
    description: 'When the platform completes it by itself; null: not by time',
  }),
}
const percentHeld = optional(
  percent.refine((value) => value > 0 && value < 100, 'above 0 and below 100').meta({ examples: [5] }),
)
export const createExperiment = z
  .object({
    name,
    key: optional(key),
    kind: optional(experimentKind),
    percent_held: percentHeld.meta({
      description: 'For a holdout: the share of its users that it keeps out; 5 unless given',
    }),
    ...settings,
  })
  .meta({
    id: 'CreateExperiment',
    examples: [
      { name: 'new_checkout_flow', description: 'Testing the new checkout flow', condition: { plan: 'gold' } },
    ],
  })
export type CreateExperiment = z.output<typeof createExperiment>

export const listExperiments = page
export const experimentId = z.object({ experiment_id: id })
export const updateExperiment = z
  .object({
    experiment_id: id,
    name: optional(name),
    key: optional(key),
    percent_held: percentHeld.meta({ description: 'Sets both shares of a holdout' }),
    ...settings,
  })
  .meta({ id: 'UpdateExperiment' })
export type UpdateExperiment = z.output<typeof updateExperiment>
export const newRun = z
  .object({ experiment_id: id, mode: optional(experimentMode).meta({ description: 'As before unless given' }) })
  .meta({ id: 'NewRun' })
export type NewRun = z.output<typeof newRun>
export const completeExperiment = z
  .object({
    experiment_id: id,
    shipped_variant_id: optional(id).meta({ description: 'The variant that everybody gets from now on' }),
  })
  .meta({ id: 'CompleteExperiment' })
export type CompleteExperiment = z.output<typeof completeExperiment>

const variantSettings = {
  enabled: optional(z.boolean()).meta({ description: 'A disabled variant is answered to nobody; true by default' }),
  payload: optional(jsonValue).meta({
    description: 'What the application reads: any JSON value; null leaves it as it is',
    examples: [{ color: 'green' }],
  }),
}
export const addVariant = z
  .object({
    experiment_id: id,
    name: name.meta({ examples: ['control'] }),
    percent_allocated: percent,
    ...variantSettings,
  })
  .meta({ id: 'AddVariant' })
export type AddVariant = z.output<typeof addVariant>
export const updateVariant = z
  .object({
    experiment_id: id,
    variant_id: id,
    name: optional(name),
    percent_allocated: optional(percent).meta({ examples: [60] }),
    is_control: optional(z.literal(true)).meta({
      description: 'Makes it the control; while the experiment is a draft',
    }),
    ...variantSettings,
  })
  .meta({ id: 'UpdateVariant' })
export type UpdateVariant = z.output<typeof updateVariant>
export const variantId = z.object({ experiment_id: id, variant_id: id })
export type VariantId = z.output<typeof variantId>

export const experimentUses = z
  .object({
    experiments: z.array(z.object({ id, name: z.string(), status })),
    flags: z.array(z.string()).meta({ description: 'By key' }),
  })
  .meta({
    id: 'ExperimentUses',
    description: 'The experiments that have it as their holdout or as a prerequisite, and the flags with a rule of it',
  })
export type ExperimentUses = z.output<typeof experimentUses>

const users = z.int().meta({ description: 'Extrapolated from the sample where that is not all of them' })
export const reach = z
  .object({
    profiles: z.int().meta({ description: 'Stored profiles in all' }),
    sampled: z.int().meta({ description: 'Profiles looked at: all of them, or a random sample' }),
    estimated: z.boolean(),
    reached: users,
    left_out: z.record(z.string(), users).meta({
      description: 'Users by the first reason that keeps them out',
      examples: [{ 'not targeted': 120, 'outside the traffic': 80 }],
    }),
    variants: z.array(z.object({ variant_id: id, variant_name: z.string(), users })),
  })
  .meta({ id: 'Reach', description: 'Whom a draw of all stored profiles would reach, were nobody assigned yet' })
export type Reach = z.output<typeof reach>
