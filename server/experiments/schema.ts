import { z } from 'zod'
import { definitionKey, experimentRef } from '../definitions/reference-schema.ts'
import { updateOf } from '../fields.ts'
import { segment } from '../segments/schema.ts'
import {
  changeable,
  clearable,
  id,
  instant,
  jsonValue,
  label,
  name,
  namedPage,
  optional,
  percent,
  storedJson,
  tag,
  timestamp,
  withoutNull,
} from '../wire.ts'
import { experimentMode, settingChanges, settingInputs, settingOutputs } from './settings-schema.ts'

export const status = z.enum(['draft', 'running', 'paused', 'completed', 'archived']).meta({ id: 'ExperimentStatus' })
export type Status = z.output<typeof status>
export const experimentKind = z.enum(['experiment', 'holdout']).meta({
  description: 'holdout: keeps a share of the users out of every experiment that names it',
})
export type ExperimentKind = z.output<typeof experimentKind>
export const range = z
  .strictObject({ from: percent.meta({ examples: [0] }), to: percent.meta({ examples: [50] }) })
  .refine(({ from, to }) => from < to, { path: ['to'], message: 'must be above from' })
  .meta({ id: 'Range', description: 'Positions of a layer in percent; from is inclusive, to is exclusive' })

export const experiment = z
  .object({
    id,
    name: z.string(),
    key: z.string(),
    status,
    version: z.int(),
    kind: experimentKind,
    ...settingOutputs,
    layer_id: id.nullable(),
    layer_ranges: z.array(range),
    shipped_variant_id: id.nullable(),
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

const allocationPeriod = z
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
  .meta({
    id: 'Run',
    description: 'One randomisation. A change of the targeting or the effective shares opens a new allocation period',
  })

export const experimentDetail = experiment
  .extend({ variants: z.array(variant), segments: z.array(segment), runs: z.array(run) })
  .meta({ id: 'ExperimentDetail' })
export type ExperimentDetail = z.output<typeof experimentDetail>

const percentHeld = optional(
  percent.refine((value) => value > 0 && value < 100, 'must be above 0 and below 100').meta({ examples: [5] }),
)
export const createExperiment = z
  .strictObject({
    name,
    key: optional(definitionKey),
    kind: optional(experimentKind),
    percent_held: percentHeld.meta({
      description: 'Only for a holdout: the percentage of users that it keeps out; 5 by default',
    }),
    ...settingInputs,
  })
  .meta({
    id: 'CreateExperiment',
    examples: [
      { name: 'new_checkout_flow', description: 'Testing the new checkout flow', condition: { plan: 'gold' } },
    ],
  })
export type CreateExperiment = z.output<typeof createExperiment>

export const listExperiments = z.strictObject({
  ...namedPage.shape,
  status: z.array(status).max(5).optional().meta({ description: 'Only experiments in one of these statuses' }),
  kind: experimentKind.optional(),
  tag: tag.optional().meta({ description: 'Only experiments with this tag' }),
  owner: label().optional().meta({ description: 'Only experiments of this owner' }),
})
export type ListExperiments = z.output<typeof listExperiments>
export const experimentId = z.strictObject({ experiment_id: experimentRef })
export const deleteExperiment = z
  .strictObject({
    experiment_id: experimentRef,
    confirm: optional(label(100)).meta({
      description:
        'The key of the experiment, which confirms that its records are deleted with it; not needed for a draft that ' +
        'no event names',
      examples: ['new-checkout-flow'],
    }),
  })
  .meta({ id: 'DeleteExperiment' })
export type DeleteExperiment = z.output<typeof deleteExperiment>
export const updateExperiment = updateOf(experimentDetail, {
  experiment_id: experimentRef,
  name: optional(name),
  key: changeable(definitionKey),
  percent_held: withoutNull(percentHeld).meta({
    description: 'Only for a holdout: the percentage of users that it keeps out; sets the shares of both variants',
  }),
  ...settingChanges,
}).meta({ id: 'UpdateExperiment' })
export type UpdateExperiment = z.output<typeof updateExperiment>
const startedAt = optional(instant).meta({
  description:
    'When the run began elsewhere, to take over an experiment that another system decides: not in the future, and not ' +
    'before the end of an earlier run. Events since then that are stored and name a variant decide their users. ' +
    'Default: now',
})
export const startExperiment = z
  .strictObject({ experiment_id: experimentRef, started_at: startedAt })
  .meta({ id: 'StartExperiment' })
export const newRun = z
  .strictObject({
    experiment_id: experimentRef,
    mode: optional(experimentMode).meta({ description: 'The mode of the new run; unchanged by default' }),
    started_at: startedAt,
    confirm: optional(label(100)).meta({
      description:
        'The key of the experiment, which confirms that a run that goes on ends and that all users are drawn anew; not ' +
        'needed after the end of the latest run',
      examples: ['new-checkout-flow'],
    }),
  })
  .meta({ id: 'NewRun' })
export type NewRun = z.output<typeof newRun>
export const completeExperiment = z
  .strictObject({
    experiment_id: experimentRef,
    shipped_variant_id: optional(id).meta({
      description: 'The variant that everybody gets from now on; none by default',
    }),
  })
  .meta({ id: 'CompleteExperiment' })
export type CompleteExperiment = z.output<typeof completeExperiment>

export const shipVariant = z
  .strictObject({
    experiment_id: experimentRef,
    shipped_variant_id: id.nullable().meta({
      description: 'The variant that everybody gets from now on; null: nothing is shipped any more',
    }),
  })
  .meta({ id: 'ShipVariant' })
export type ShipVariant = z.output<typeof shipVariant>

const variantSettings = {
  enabled: optional(z.boolean()).meta({ description: 'A disabled variant is given to nobody; true by default' }),
  payload: clearable(jsonValue).meta({
    description: 'Any JSON value, which the application reads; null: none',
    examples: [{ color: 'green' }],
  }),
}
export const addVariant = z
  .strictObject({
    experiment_id: experimentRef,
    name: name.meta({ examples: ['control'] }),
    percent_allocated: percent,
    ...variantSettings,
  })
  .meta({ id: 'AddVariant' })
export type AddVariant = z.output<typeof addVariant>
export const updateVariant = updateOf(variant, {
  experiment_id: experimentRef,
  variant_id: id,
  name: optional(name),
  percent_allocated: optional(percent).meta({ examples: [60] }),
  is_control: changeable(z.boolean()).meta({
    description: 'true: makes the variant the control, which is possible while the experiment is a draft',
    examples: [true],
  }),
  ...variantSettings,
  enabled: withoutNull(variantSettings.enabled),
}).meta({ id: 'UpdateVariant' })
export type UpdateVariant = z.output<typeof updateVariant>
export const setAllocation = z
  .object({ experiment_id: experimentRef })
  .catchall(percent)
  .meta({
    id: 'SetAllocation',
    description:
      'Percentages by the id or the name of a variant; variants that are not named keep theirs. All shares together ' +
      'are at most 100. The shares of a completed experiment are those of its next run',
    examples: [{ control: 40, treatment: 60 }],
  })
export type SetAllocation = z.output<typeof setAllocation>
export const variantId = z.strictObject({ experiment_id: experimentRef, variant_id: id })
export type VariantId = z.output<typeof variantId>

export const experimentUses = z
  .object({
    experiments: z.array(z.object({ id, name: z.string(), status })),
    flags: z.array(z.string()).meta({ description: 'Keys of the flags' }),
  })
  .meta({
    id: 'ExperimentUses',
    description:
      'The experiments that have this experiment as their holdout or as a prerequisite, and the flags with a ' +
      'rule for it',
  })
export type ExperimentUses = z.output<typeof experimentUses>

const users = z.int().meta({ description: 'Number of users; scaled up from the sample if estimated is true' })
export const reach = z
  .object({
    profiles: z.int().meta({ description: 'Number of stored profiles' }),
    sampled: z.int().meta({ description: 'Number of profiles that were read: all of them, or a random sample' }),
    estimated: z.boolean(),
    reached: users,
    left_out: z.record(z.string(), users).meta({
      description: 'Number of users by the first reason that leaves them out',
      examples: [{ 'not targeted': 120, 'outside the traffic': 80 }],
    }),
    variants: z.array(z.object({ variant_id: id, variant_name: z.string(), users })),
  })
  .meta({ id: 'Reach', description: 'How many stored profiles an experiment would reach if nobody were assigned yet' })
export type Reach = z.output<typeof reach>
