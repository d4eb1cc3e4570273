import { z } from 'zod'
import { id } from '../wire.ts'

/** The documented fields: rates, intervals and uplifts in per cent, rounded. All other results are fractions. */

const percent = (description: string) => z.number().meta({ description: `${description}, in per cent: 12.5 is 12.5 %` })
const roundedToZero = z.string().optional()

export const variantResult = z
  .object({
    variant_id: id.meta({ description: 'Id of the variant' }),
    variant_name: z.string().meta({ description: 'Name of the variant' }),
    is_control: z.boolean().meta({ description: 'True for the variant with which the others are compared' }),
    total_users: z.int().meta({ description: 'Number of distinct exposed users who are analysed' }),
    conversions: z.int().meta({ description: 'Number of these users with an event of conversion_event_type' }),
    conversion_rate: percent('conversions / total_users over the whole run, two decimals; 0 without users'),
    confidence_interval: z
      .object({ lower: percent('Lower bound'), upper: percent('Upper bound') })
      .meta({ description: 'Interval of conversion_rate at confidence_level, by Wilson or by interval_method' }),
    p_value: z
      .number()
      .nullable()
      .meta({
        description:
          'Two-sided p-value of the pooled z-test against the control, a fraction with four decimals; null on the control. ' +
          'Over several allocation periods: of the comparison within periods',
      }),
    p_value_text: roundedToZero.meta({
      description: '"< 0.0001": present where p_value is rounded to 0',
      examples: ['< 0.0001'],
    }),
    is_significant: z.boolean().nullable().meta({
      description: 'True if the unrounded p_value is below significance_threshold; null on the control',
    }),
    relative_uplift: percent('Difference from the control, relative to the control, two decimals')
      .nullable()
      .meta({
        description:
          'Difference from the control, relative to the control, in per cent: 12.5 is 12.5 % more. 0 if the control ' +
          'converts nobody; null on the control, and if the treatment has no users. Over several allocation periods: of ' +
          'the comparison within periods',
      }),
    small_sample: z.boolean().optional().meta({
      description: 'True, or absent: an expected count is below 5, so that the z-test is unreliable',
    }),
    exact_p_value: z.number().optional().meta({
      description:
        "Two-sided p-value of Fisher's exact test, a fraction with four decimals; present where small_sample is. Decisions go by it",
    }),
    exact_p_value_text: roundedToZero.meta({
      description: '"< 0.0001": present where exact_p_value is rounded to 0',
      examples: ['< 0.0001'],
    }),
  })
  .meta({ id: 'VariantResult' })

export const winner = z
  .object({
    variant_id: id.meta({ description: 'Id of the variant' }),
    variant_name: z.string().meta({ description: 'Name of the variant' }),
    relative_uplift: percent('Uplift of the variant, as in variants'),
  })
  .meta({
    id: 'Winner',
    description:
      'The significant variant with the largest uplift above 0, by one type of event and one look; decision says what to do',
  })
