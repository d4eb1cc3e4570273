import { z } from 'zod'
import { experimentRef } from '../definitions/reference-schema.ts'
import { analysisMethod, crossoverRule } from '../experiments/settings-schema.ts'
import { direction } from '../metrics/schema.ts'
import { belowOne, effectFault, optional, percent, withDefault } from '../wire.ts'

const share = z.number().gt(0).lt(1, belowOne)
/** The bounds keep products of figures within a double; real metrics stay far inside them. */
const level = z
  .number()
  .min(-1e15)
  .max(1e15)
  .refine((value) => value === 0 || Math.abs(value) >= 1e-12, 'must be 0 or at least 1e-12 away from 0')
const positive = z.number().min(1e-12).max(1e15)
const standardDeviation = positive.meta({ description: 'Per user, in the unit of the metric' })

const metric = z
  .discriminatedUnion('type', [
    z.strictObject({
      type: z.literal('proportion'),
      rate: share.meta({ description: 'The rate of the control: 0.1 is 10 %' }),
    }),
    z.strictObject({ type: z.literal('mean'), mean: level, standard_deviation: standardDeviation }),
    z.strictObject({
      type: z.literal('ratio'),
      ratio: level,
      standard_deviation: standardDeviation.meta({
        description: 'The standard error of the ratio times the square root of the number of users',
      }),
    }),
  ])
  .meta({ examples: [{ type: 'proportion', rate: 0.1 }] })

const correlation = withDefault(z.number().gt(-1).lt(1), 0).meta({
  description: 'The correlation of the metric with the same metric before exposure, if CUPED is used',
})
const margin = z
  .strictObject({ type: z.enum(['relative', 'absolute']), size: z.number().min(1e-12).max(1e12) })
  .meta({ description: 'How much worse the guardrail may be: in its unit, or as a share of the control' })
const guardrail = z.strictObject({
  metric,
  margin: withDefault(
    margin.superRefine(({ type, size }, ctx) => {
      const message = type === 'relative' ? effectFault(size) : null
      if (message !== null) ctx.addIssue({ code: 'custom', path: ['size'], message })
    }),
    { type: 'relative', size: 0.05 },
  ),
  direction: withDefault(direction, 'increase'),
  covariate_correlation: correlation,
})

const planned = z.enum(['fixed', 'group_sequential', 'sequential'])
const plan = {
  metric,
  confidence_level: withDefault(z.number().gt(0.5).lt(1, belowOne), 0.95).meta({
    description:
      'The confidence level of all comparisons together; the error 1 - level is divided among the primary metrics ' +
      'and treatments',
  }),
  primary_metrics: withDefault(z.int().min(1).max(100), 1).meta({
    description: 'The number of primary metrics, any of which may decide',
  }),
  power: withDefault(z.number().min(0.5).lt(1, belowOne), 0.8),
  covariate_correlation: correlation,
  method: withDefault(planned, 'sequential').meta({
    description:
      'sequential: results may be read at any time, which needs more users; group_sequential: at a few planned ' +
      'looks; fixed: once',
  }),
  looks: optional(z.int().min(1).max(20)).meta({
    description: 'The number of equally spaced looks of the method group_sequential; default: 5',
  }),
  tuning: optional(z.int().min(1).max(1e12)).meta({
    description: 'The number of users at which the sequential interval is tightest; default: 5000',
  }),
  guardrails: withDefault(z.array(guardrail).max(50), []).meta({
    description: 'Guardrails that a treatment must pass to be shipped, counted as independent of one another',
  }),
}
const relativeEffect = z
  .number()
  .min(-1e9)
  .max(1e9)
  .refine((value) => Math.abs(value) >= 1e-12, 'must not be 0')
  .superRefine((effect, ctx) => {
    const message = effectFault(effect)
    if (message !== null) ctx.addIssue({ code: 'custom', message })
  })
  .meta({ description: 'The change as a share of the level: 0.05 is 5 % more', examples: [0.05] })

const users = z.int().min(1).max(1e12)

export const planSampleSize = z
  .strictObject({
    ...plan,
    relative_effect: relativeEffect,
    allocation: withDefault(z.array(z.number().min(1e-6).max(1e6)).min(2).max(100), [50, 50]).meta({
      description: 'The shares of the variants on any scale, the control first',
    }),
    daily_users: optional(z.number().min(0).max(1e12)).meta({ description: 'The number of eligible users per day' }),
    traffic_percent: withDefault(percent, 100),
  })
  .meta({ id: 'PlanSampleSize' })
export type PlanSampleSize = z.output<typeof planSampleSize>

const effect = z.object({
  absolute: z.number().meta({ description: 'In the unit of the metric' }),
  relative: z.number().nullable().meta({ description: 'As a share of the level; null if the level is 0' }),
})
const guardrailFigures = {
  power: z.number().meta({ description: 'The probability to pass at the planned users, if no harm is done' }),
  total_users: z
    .number()
    .nullable()
    .meta({ description: 'The users at which the guardrail alone passes with the requested power; null: over 1e12' }),
  smallest_margin: z
    .number()
    .nullable()
    .meta({
      description:
        'The smallest margin, absolute or relative as the given one, that passes with the requested power at the ' +
        'planned users; null if none does',
    }),
  is_in_reach: z.boolean().meta({ description: 'True if it passes with the requested power at the planned users' }),
}
const guardrailsPlan = z
  .object({
    power: z.number().meta({ description: 'The probability to pass all guardrails, if no harm is done to any' }),
    total_users: z
      .number()
      .nullable()
      .meta({ description: 'The users at which all are passed with the requested power; null: over 1e12' }),
    each: z.array(z.object(guardrailFigures)),
  })
  .nullable()
  .meta({ description: 'By one-sided tests of non-inferiority; null without guardrails' })
export type GuardrailsPlan = z.output<typeof guardrailsPlan>

const plannedSize = {
  users: z.array(z.int()).meta({ description: 'The users of each variant, in the order of the allocation' }),
  total_users: z.int(),
  effect,
  comparisons: z.int(),
  inflation: z.number().meta({ description: 'The users as a multiple of the users that the fixed method needs' }),
  days: z
    .int()
    .nullable()
    .meta({ description: 'The days until the slowest variant has its users; null without traffic' }),
  weeks: z
    .int()
    .nullable()
    .meta({ description: 'The same time in whole weeks, so that every day of the week counts equally' }),
  expected_users: z
    .object({
      with_effect: z.int().meta({ description: 'If the effect exists' }),
      without_effect: z.int().meta({ description: 'If there is no difference' }),
    })
    .meta({ description: 'The mean number of users, if the experiment ends as soon as its method ends it' }),
}
export const sampleSizePlan = z.object({ ...plannedSize, guardrails: guardrailsPlan }).meta({ id: 'SampleSizePlan' })
export type SampleSizePlan = z.output<typeof sampleSizePlan>

export const planPower = z
  .strictObject({
    ...plan,
    users: z.array(users).min(2).max(100).meta({ description: 'The users of each variant, the control first' }),
    relative_effect: optional(relativeEffect),
  })
  .meta({ id: 'PlanPower' })
export type PlanPower = z.output<typeof planPower>

export const powerPlan = z
  .object({
    power: z
      .number()
      .nullable()
      .meta({ description: 'The power of the weakest comparison to detect the effect; null if no effect was given' }),
    minimum_detectable_effect: effect.nullable().meta({
      description:
        'The smallest increase that is detected with the requested power; null if a rate would need to reach 1',
    }),
    comparisons: z.int(),
    guardrails: guardrailsPlan,
  })
  .meta({ id: 'PowerPlan' })
export type PowerPlan = z.output<typeof powerPlan>

const figure = z.number().nullable()
export const checklistOf = z.strictObject({ experiment_id: experimentRef })
const baseline = z.object({
  days: z.int(),
  users: z.int(),
  daily_users: z.number(),
  level: figure,
  standard_deviation: figure,
  correlation: figure.meta({
    description: "The correlation of a user's value in these days with the value in as many days before",
  }),
})
const comparedPlan = z
  .object({
    method: planned,
    ...plannedSize,
    power_at_planned_users: figure.meta({
      description: "The power with the experiment's planned_users; null without them",
    }),
    peeking: z.string().meta({ description: 'When the results may be read' }),
  })
  .meta({ id: 'ComparedPlan' })
const guardrailOfExperiment = z.object({
  key: z.string(),
  name: z.string(),
  margin,
  baseline,
  power: guardrailFigures.power.nullable(),
  total_users: guardrailFigures.total_users,
  smallest_margin: guardrailFigures.smallest_margin,
  is_in_reach: guardrailFigures.is_in_reach.nullable(),
  reason: z.string().nullable().meta({ description: 'The reason why there are no figures; null if there are' }),
})
export const checklist = z
  .object({
    experiment_id: z.int(),
    is_locked: z
      .boolean()
      .meta({ description: 'True while a run is unfinished: the plan is then the plan of this run' }),
    is_ready: z
      .boolean()
      .nullable()
      .meta({ description: 'True if all items are met; a start needs only the variants. Null once it has started' }),
    state: z.string().meta({ description: 'What the checklist means for an experiment in its present status' }),
    plan: z.object({
      method: analysisMethod,
      exposure: z.enum(['on_check', 'on_report']),
      planned_users: z.int().nullable(),
      planned_effect: figure,
      crossovers: crossoverRule,
      tuning: z.number().meta({ description: 'N*: the number of users at which the sequential interval is tightest' }),
      primary_metrics: z.array(z.object({ key: z.string(), version: z.int() })),
    }),
    items: z.array(z.object({ item: z.string(), is_met: z.boolean(), message: z.string() })),
    planner: z.object({
      baseline: baseline
        .nullable()
        .meta({ description: 'The first primary metric over the users of the last two weeks' }),
      effect: figure.meta({
        description: "The planned_effect, else the metric's minimum_detectable_effect, else 0.05",
      }),
      total_users: z.number().nullable().meta({ description: "By the experiment's analysis_method (bayesian: fixed)" }),
      users: z.array(z.number()).nullable().meta({ description: 'The users of each variant, the control first' }),
      days: z.int().nullable(),
      weeks: z.int().nullable(),
      plans: z.array(comparedPlan).meta({
        description: 'The plans of all methods side by side, for the same effect and a power of 80 %',
      }),
      guardrails: z
        .object({
          at_users: z.number().meta({
            description: 'The users for which the power is computed: planned_users, else total_users',
          }),
          power: figure.meta({
            description: 'The probability to pass all guardrails that have figures, if no harm is done to any',
          }),
          total_users: figure.meta({ description: 'The users at which these are passed with a power of 80 %' }),
          each: z.array(guardrailOfExperiment),
        })
        .nullable()
        .meta({ description: 'Null without guardrails, and without a number of users' }),
      reason: z.string().nullable().meta({ description: 'The reason why there are no figures; null if there are' }),
    }),
  })
  .meta({ id: 'StartChecklist' })
export type Checklist = z.output<typeof checklist>
