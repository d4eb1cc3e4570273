import { z } from 'zod'
import { id, label, optional } from '../wire.ts'
import { comparison } from './comparison-schema.ts'
import { figure, interval, variantName } from './part-schema.ts'
import { documentedQuestion, furtherQuestion } from './question-schema.ts'

export const getSeries = z
  .object({
    experiment_id: id,
    run: furtherQuestion.run,
    metric: optional(label(100)).meta({
      description: 'Key of a metric of the experiment; default the first primary metric',
    }),
    event_type: optional(label()).meta({
      description: 'Report the rate of users with an event of this type, instead of a metric',
    }),
    confidence_level: documentedQuestion.confidence_level,
  })
  .meta({ id: 'GetResultsSeries', examples: [{ event_type: 'conversion' }] })
export type GetSeries = z.output<typeof getSeries>
const point = {
  variants: z.array(z.object({ variant_id: id, variant_name: variantName, users: z.int(), level: figure })),
  comparisons: z.array(
    z.object({
      variant_id: id,
      variant_name: variantName,
      status: comparison.shape.status,
      difference: figure,
      standard_error: figure,
      interval: interval.nullable().meta({ description: 'Valid for one reading only' }),
      always_valid: z
        .object({ p_value: z.number().meta({ description: 'The smallest p-value so far' }), interval })
        .nullable()
        .meta({ description: 'Valid on all days together; null while there are too few users or events' }),
      uplift: figure,
    }),
  ),
}
export const resultsSeries = z
  .object({
    experiment_id: id,
    run: z.int().nullable(),
    metric: z.string(),
    time_zone: z.string().meta({ description: 'The time zone that separates days' }),
    days: z
      .array(z.object({ day: z.string().meta({ examples: ['2026-01-31'] }), ...point }))
      .meta({ description: 'The metric at the end of each day' }),
    since_exposure: z.array(z.object({ day: z.int(), ...point })).meta({
      description:
        'The metric on each day after exposure, over users observed to the end of that day. A trend hints at a novelty effect and is no test',
    }),
    cost: z.object({ milliseconds: z.number(), users: z.int() }).meta({ description: 'Cost of reading events' }),
  })
  .meta({ id: 'ResultsSeries' })
export type ResultsSeries = z.output<typeof resultsSeries>
