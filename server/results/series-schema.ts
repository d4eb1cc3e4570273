import { z } from 'zod'
import { id, label, optional } from '../wire.ts'
import { comparison, documentedQuestion, figure, furtherQuestion, interval } from './schema.ts'

export const getSeries = z
  .object({
    experiment_id: id,
    run: furtherQuestion.run,
    metric: optional(label(100)).meta({
      description: 'Key of one of its metrics; the first primary one unless given',
    }),
    event_type: optional(label()).meta({ description: 'Users with an event of this type, instead of a metric' }),
    confidence_level: documentedQuestion.confidence_level,
  })
  .meta({ id: 'GetResultsSeries', examples: [{ event_type: 'conversion' }] })
export type GetSeries = z.output<typeof getSeries>
const point = {
  variants: z.array(z.object({ variant_id: id, users: z.int(), level: figure })),
  comparisons: z.array(
    z.object({
      variant_id: id,
      status: comparison.shape.status,
      difference: figure,
      standard_error: figure,
      interval: interval.nullable().meta({ description: 'For one look only' }),
      always_valid: z
        .object({ p_value: z.number().meta({ description: 'The smallest so far' }), interval })
        .nullable()
        .meta({ description: 'Right on all days together; null below 100 users in a variant' }),
      uplift: figure,
    }),
  ),
}
export const resultsSeries = z
  .object({
    experiment_id: id,
    run: z.int().nullable(),
    metric: z.string(),
    time_zone: z.string().meta({ description: 'Where days are cut' }),
    days: z
      .array(z.object({ day: z.string().meta({ examples: ['2026-01-31'] }), ...point }))
      .meta({ description: 'As it stood at the end of each day' }),
    since_exposure: z.array(z.object({ day: z.int(), ...point })).meta({
      description:
        'What users did on a day after their exposure, of those observed so long: a trend is a hint of novelty, not a test',
    }),
    cost: z.object({ milliseconds: z.number(), users: z.int() }).meta({ description: 'It is read from events' }),
  })
  .meta({ id: 'ResultsSeries' })
export type ResultsSeries = z.output<typeof resultsSeries>
