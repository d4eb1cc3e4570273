import { z } from 'zod'
import { id } from '../wire.ts'
import { figure, variantName } from './part-schema.ts'

/** The checks that variants have the users that the allocation gives them. */

const ratioShape = {
  status: z.enum(['ok', 'no_data', 'unexpected_variant', 'single_variant', 'zero_variance']).meta({
    description:
      'ok: tested; no_data: no users; single_variant: only one variant has a share; unexpected_variant: a variant ' +
      'without a share has users; zero_variance: nobody or everybody is excluded',
  }),
  chi_square: figure.meta({ description: "Pearson's statistic, added over allocation periods; null if untested" }),
  degrees_of_freedom: z.int().meta({ description: 'Degrees of freedom of chi_square' }),
  p_value: z.number().meta({
    description:
      'P-value of the chi-square test, a fraction. It decides is_mismatch once the run has ended, if every expected number is at least 5',
  }),
  is_mismatch: z
    .boolean()
    .meta({ description: 'True if the p-value that decides is below 0.001: no result can be trusted' }),
}
const sequentialPValue = figure.meta({
  description:
    'Always-valid p-value, a fraction: valid however often results are read. It decides is_mismatch during the run; null if untested',
})
const sharedUsers = z.array(
  z.object({
    variant_id: id.meta({ description: 'Id of the variant' }),
    variant_name: variantName,
    users: z.int().meta({ description: 'Number of these users' }),
    expected: z.number().meta({ description: 'Number of these users by the allocation' }),
  }),
)
const ratioCheck = z
  .object({
    ...ratioShape,
    sequential_p_value: sequentialPValue,
    variants: sharedUsers.nullable().meta({
      description: 'The users drawn here who are tested, by variant; null in answers that older engines froze',
    }),
  })
  .meta({ id: 'RatioCheck' })
const cause = z
  .object({
    by: z.string().meta({
      description: 'day, source, exposure_source, segment or the name of a dimension',
      examples: ['country_code'],
    }),
    value: z.string().meta({ description: 'The value that the users share', examples: ['DE'] }),
    of: z.enum(['assigned', 'exposed']).meta({ description: 'The check that the users make fail' }),
    p_value: z.number().meta({
      description:
        'P-value of these users alone, a fraction, times the number of tested values (Bonferroni), at most 1',
    }),
    explains_all: z.boolean().meta({ description: 'True if all other users agree with the allocation' }),
    variants: sharedUsers.meta({ description: 'These users by variant' }),
  })
  .meta({ id: 'MismatchCause' })

export const sampleRatios = z
  .object({
    assigned: ratioCheck.meta({ description: 'Tests the numbers of assigned users of all variants' }),
    exposed: ratioCheck.meta({ description: 'Tests the numbers of exposed users of the enabled variants' }),
    exclusions: z.object({ ...ratioShape, sequential_p_value: sequentialPValue.optional() }).meta({
      id: 'ExclusionCheck',
      description:
        'Tests that every enabled variant excludes users at the same rate, and that crossovers are shared as two draws share them',
    }),
    causes: z
      .array(cause)
      .meta({ description: 'Groups of users that explain a mismatch, smallest p_value first; at most 10' }),
  })
  .meta({ id: 'SampleRatios' })
