import { z } from 'zod'
import { id, label, optional, timestamp, withDefault } from '../wire.ts'

const share = z.number().gt(0).lt(1)

export const getResults = z
  .object({
    experiment_id: id,
    conversion_event_type: withDefault(label(), 'conversion'),
    confidence_level: withDefault(share, 0.95),
    significance_threshold: withDefault(share, 0.05),
    interval_method: optional(z.enum(['wilson', 'wald'])).meta({ description: 'wilson unless given' }),
  })
  .meta({ id: 'GetResults' })
export type GetResults = z.output<typeof getResults>

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
    crossovers: z.int().meta({ description: 'Users seen with two variants: left out of the analysis' }),
    overridden: z
      .int()
      .meta({ description: 'Users on whom a variant was forced during the run: left out of the analysis' }),
  })
  .meta({ id: 'Results' })
export type Results = z.output<typeof results>
