import { z } from 'zod'
import { segment } from '../segments/schema.ts'
import { id, jsonValue, name, optional, page, percent, storedJson, text, timestamp } from '../wire.ts'

export const status = z.enum(['draft', 'running', 'paused', 'completed', 'archived']).meta({ id: 'ExperimentStatus' })
export type Status = z.output<typeof status>
export const exposureMode = z.enum(['on_check', 'on_report']).meta({
  description: 'Whether a check exposes the user, or an event that reports what was shown',
})
export type ExposureMode = z.output<typeof exposureMode>

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
    auto_start: z.boolean(),
    exposure: exposureMode,
    traffic_percent: z.number(),
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

const settings = {
  description: optional(text),
  hypothesis: optional(text),
  auto_start: optional(z.boolean()).meta({
    description: 'Whether the first check that names it starts it; true unless given',
  }),
  exposure: optional(exposureMode),
  traffic_percent: optional(percent).meta({
    description: 'Share of the eligible users that take part; 100 unless given',
  }),
}
export const createExperiment = z.object({ name, key: optional(key), ...settings }).meta({ id: 'CreateExperiment' })
export type CreateExperiment = z.output<typeof createExperiment>

export const listExperiments = page
export const experimentId = z.object({ experiment_id: id })
export const updateExperiment = z
  .object({ experiment_id: id, name: optional(name), key: optional(key), ...settings })
  .meta({ id: 'UpdateExperiment' })
export type UpdateExperiment = z.output<typeof updateExperiment>
export const completeExperiment = z
  .object({
    experiment_id: id,
    shipped_variant_id: optional(id).meta({ description: 'The variant that everybody gets from now on' }),
  })
  .meta({ id: 'CompleteExperiment' })
export type CompleteExperiment = z.output<typeof completeExperiment>

const variantSettings = {
  enabled: optional(z.boolean()).meta({ description: 'A disabled variant is answered to nobody; true unless given' }),
  payload: optional(jsonValue).meta({
    description: 'What the application reads: any JSON value',
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
