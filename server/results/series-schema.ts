import { z } from 'zod'
import { experimentRef } from '../definitions/reference-schema.ts'
import { id, label, optional } from '../wire.ts'
import { comparison } from './comparison-schema.ts'
import { figure, interval, variantName } from './part-schema.ts'
import { documentedQuestion, furtherQuestion } from './question-schema.ts'

export const getSeries = z
  .strictObject({
    experiment_id: experimentRef,
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
  variants: z
    .array(
      z.object({
        variant_id: id.meta({ description: 'Id of the variant' }),
        variant_name: variantName,
        users: z.int().meta({ description: 'Number of users whose values are counted' }),
        level: figure.meta({
          description: 'A rate as a fraction (0.12 is 12 %), a mean or a ratio, in the unit of the metric',
        }),
      }),
    )
    .meta({ description: 'The level in each variant, control first' }),
  comparisons: z
    .array(
      z.object({
        variant_id: id.meta({ description: 'Id of the treatment that is compared with the control' }),
        variant_name: variantName,
        status: comparison.shape.status,
        levels: comparison.shape.levels,
        difference: figure.meta({ description: 'Treatment minus control, in the unit of the metric' }),
        standard_error: figure.meta({ description: 'Standard error of the difference, in the unit of the metric' }),
        interval: interval.nullable().meta({
          description: 'Confidence interval of the difference, in the unit of the metric; valid for one reading',
        }),
        always_valid: z
          .object({
            p_value: z.number().meta({ description: 'The smallest p-value so far, a fraction' }),
            interval: interval.meta({ description: 'Interval of the difference, in the unit of the metric' }),
          })
          .nullable()
          .meta({ description: 'Valid on all days together; null while there are too few users or events' }),
        uplift: figure.meta({ description: 'Difference relative to the control, a fraction: 0.1 is 10 % more' }),
      }),
    )
    .meta({ description: 'Each treatment against the control' }),
}
export const resultsSeries = z
  .object({
    experiment_id: id.meta({ description: 'Id of the experiment' }),
    run: z.int().nullable().meta({ description: 'Number of the reported run; null before the first run' }),
    metric: z.string().meta({ description: 'Key of the metric that is reported' }),
    time_zone: z.string().meta({ description: 'The time zone that separates days' }),
    days: z
      .array(
        z.object({ day: z.string().meta({ description: 'The day in time_zone', examples: ['2026-01-31'] }), ...point }),
      )
      .meta({ description: 'The metric at the end of each day' }),
    since_exposure: z
      .array(z.object({ day: z.int().meta({ description: 'Whole days since exposure, from 0' }), ...point }))
      .meta({
        description:
          'The metric on each day after exposure, over users observed to the end of that day. A trend hints at a novelty effect and is no test',
      }),
    cost: z
      .object({
        milliseconds: z.number().meta({ description: 'Time that reading took, in milliseconds' }),
        users: z.int().meta({ description: 'Number of users whose events were read' }),
      })
      .meta({ description: 'Cost of reading events' }),
  })
  .meta({ id: 'ResultsSeries' })
export type ResultsSeries = z.output<typeof resultsSeries>
