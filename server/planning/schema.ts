import { z } from 'zod'
import { optional, percent, withDefault } from '../wire.ts'

const share = z.number().gt(0).lt(1)
/** Beyond, figures leave what a double holds; no metric comes near. */
const level = z
  .number()
  .min(-1e15)
  .max(1e15)
  .refine((value) => value === 0 || Math.abs(value) >= 1e-12, 'is too near to 0')
const positive = z.number().min(1e-12).max(1e15)
const standardDeviation = positive.meta({ description: 'Per user, in the unit of the metric' })

const metric = z
  .discriminatedUnion('type', [
    z.object({ type: z.literal('proportion'), rate: share.meta({ description: 'Of the control: 0.1 is 10 %' }) }),
    z.object({ type: z.literal('mean'), mean: level, standard_deviation: standardDeviation }),
    z.object({
      type: z.literal('ratio'),
      ratio: level,
      standard_deviation: standardDeviation.meta({
        description: 'The standard error of the ratio times the root of the users: both sums vary between users',
      }),
    }),
  ])
  .meta({ examples: [{ type: 'proportion', rate: 0.1 }] })

const plan = {
  metric,
  confidence_level: withDefault(z.number().gt(0.5).lt(1), 0.95).meta({
    description: 'Of all comparisons together: divided among several treatments',
  }),
  power: withDefault(z.number().min(0.5).lt(1), 0.8),
  covariate_correlation: withDefault(z.number().gt(-1).lt(1), 0).meta({
    description: 'Of the metric with the same metric before exposure, where CUPED is used',
  }),
  method: withDefault(z.enum(['fixed', 'sequential']), 'sequential').meta({
    description: 'sequential may be looked at whenever one likes, and needs more users for it',
  }),
  tuning: optional(z.int().min(1).max(1e12)).meta({
    description: 'Users at which the sequential interval is tightest; 5000 unless given',
  }),
}
const relativeEffect = z
  .number()
  .min(-1e9)
  .max(1e9)
  .refine((value) => Math.abs(value) >= 1e-12, 'must not be 0')
  .meta({ description: 'Change of the level as a share of it: 0.05 is 5 % more', examples: [0.05] })

const users = z.int().min(1).max(1e12)

export const planSampleSize = z
  .object({
    ...plan,
    relative_effect: relativeEffect,
    allocation: withDefault(z.array(z.number().min(1e-6).max(1e6)).min(2).max(100), [50, 50]).meta({
      description: 'Shares of the variants in any scale, the control first',
    }),
    daily_users: optional(z.number().min(0).max(1e12)).meta({ description: 'Who could take part, per day' }),
    traffic_percent: withDefault(percent, 100),
  })
  .meta({ id: 'PlanSampleSize' })
export type PlanSampleSize = z.output<typeof planSampleSize>

const effect = z.object({
  absolute: z.number().meta({ description: 'In the unit of the metric' }),
  relative: z.number().nullable().meta({ description: 'As a share of the level; null where that is 0' }),
})
export const sampleSizePlan = z
  .object({
    users: z.array(z.int()).meta({ description: 'Of each variant, in the order of the allocation' }),
    total_users: z.int(),
    effect,
    comparisons: z.int(),
    inflation: z.number().meta({ description: 'Users as a multiple of those of a fixed horizon' }),
    days: z.int().nullable().meta({ description: 'Until the slowest variant has its users; null without traffic' }),
    weeks: z.int().nullable().meta({ description: 'Whole weeks even out the days of the week' }),
  })
  .meta({ id: 'SampleSizePlan' })
export type SampleSizePlan = z.output<typeof sampleSizePlan>

export const planPower = z
  .object({
    ...plan,
    users: z.array(users).min(2).max(100).meta({ description: 'Of each variant, the control first' }),
    relative_effect: optional(relativeEffect),
  })
  .meta({ id: 'PlanPower' })
export type PlanPower = z.output<typeof planPower>

export const powerPlan = z
  .object({
    power: z
      .number()
      .nullable()
      .meta({ description: 'To find the effect, of the weakest comparison; null where none was given' }),
    minimum_detectable_effect: effect.nullable().meta({
      description: 'The smallest increase that is found with the power asked for; null where no rate below 1 is enough',
    }),
    comparisons: z.int(),
  })
  .meta({ id: 'PowerPlan' })
export type PowerPlan = z.output<typeof powerPlan>

const figure = z.number().nullable()
export const checklistOf = z.object({ experiment_id: z.int().positive().max(2_147_483_647) })
export const checklist = z
  .object({
    experiment_id: z.int(),
    is_locked: z.boolean().meta({ description: 'A run is unfinished: the plan is the one it started with' }),
    is_ready: z.boolean().meta({ description: 'Whether everything is met; a start needs only the variants' }),
    plan: z.object({
      method: z.enum(['sequential', 'fixed', 'bayesian']),
      exposure: z.enum(['on_check', 'on_report']),
      planned_users: z.int().nullable(),
      planned_effect: figure,
      tuning: z.number().meta({ description: 'N*: at how many users the sequential interval is tightest' }),
      primary_metrics: z.array(z.object({ key: z.string(), version: z.int() })),
    }),
    items: z.array(z.object({ item: z.string(), is_met: z.boolean(), message: z.string() })),
    planner: z.object({
      baseline: z
        .object({
          days: z.int(),
          users: z.int(),
          daily_users: z.number(),
          level: figure,
          standard_deviation: figure,
          correlation: figure.meta({ description: 'Of what users did in these days and in as many before' }),
        })
        .nullable()
        .meta({ description: 'What users did in the last two weeks, by the first primary metric' }),
      effect: figure.meta({ description: 'The planned effect, else what the metric aims at, else 5 %' }),
      total_users: z.number().nullable(),
      users: z.array(z.number()).nullable().meta({ description: 'Of each variant, the control first' }),
      days: z.int().nullable(),
      weeks: z.int().nullable(),
      reason: z.string().nullable().meta({ description: 'Why there are no figures' }),
    }),
  })
  .meta({ id: 'StartChecklist' })
export type Checklist = z.output<typeof checklist>
