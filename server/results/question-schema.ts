import { z } from 'zod'
import { experimentRef, segmentRef } from '../definitions/reference-schema.ts'
import { analysisMethod, crossoverRule } from '../experiments/settings-schema.ts'
import { belowOne, comparand, instant, label, optional, withDefault } from '../wire.ts'

const share = z.number().gt(0).lt(1, belowOne)

export const documentedQuestion = {
  experiment_id: experimentRef,
  conversion_event_type: withDefault(label(), 'conversion'),
  confidence_level: withDefault(share, 0.95),
  significance_threshold: withDefault(share, 0.05),
  interval_method: optional(z.enum(['wilson', 'wald'])).meta({ description: 'The interval of a rate; default wilson' }),
}
export const furtherQuestion = {
  run: optional(z.int().positive().max(2_147_483_647)).meta({
    description: 'The number of the run; default the latest run',
  }),
  method: optional(analysisMethod).meta({ description: 'The method that decides; default the planned method' }),
  crossovers: optional(crossoverRule).meta({
    description:
      'exclude: leave out users who met two variants. first: analyse them under the variant that they were first ' +
      'assigned. Default the planned rule; the other one is a sensitivity check',
  }),
  metrics: optional(z.array(label(100)).min(1).max(50)).meta({
    description: 'Keys of the metrics to report; default all metrics of the experiment',
    examples: [['revenue-per-user']],
  }),
  event_types: optional(z.array(label()).max(20)).meta({
    description: 'Event types to report as further secondary metrics: the rate of users with an event',
    examples: [['signup']],
  }),
  window_hours: optional(
    z
      .number()
      .gt(0)
      .max(366 * 24),
  ).meta({
    description: 'For every metric, count only events within this many hours after exposure; read from events',
  }),
  complete_windows: optional(z.boolean()).meta({
    description:
      'true: metrics with a window count only users whose window is over; default: true once the run has ended. Retention always does',
  }),
  from: optional(instant).meta({
    description: 'Count only users who met a variant at this time or later; read from events',
  }),
  to: optional(instant).meta({
    description: 'Count only users exposed, and events, before this time; read from events',
  }),
  as_of: optional(instant).meta({
    description: 'Count only what the platform had received before this time; read from events',
  }),
  dimension: optional(label(100)).meta({
    description:
      'Break down by country_code, is_premium, is_bot, is_internal or a declared dimension; a breakdown is exploratory ' +
      'and decides nothing',
    examples: ['country_code'],
  }),
  where: optional(z.record(label(100), z.union([comparand, z.number(), z.boolean()]))).meta({
    description:
      'Count only users with these values. Declared dimensions have the value of the decision, other attributes that of the profile. One declared dimension is read from totals, anything else from events',
    examples: [{ country_code: 'US' }],
  }),
  segment_id: optional(segmentRef).meta({
    description: 'Count only users who were added to this segment by hand; read from events',
  }),
}
export const getResults = z.strictObject({ ...documentedQuestion, ...furtherQuestion }).meta({
  id: 'GetResults',
  examples: [{ conversion_event_type: 'conversion', confidence_level: 0.95, significance_threshold: 0.05 }],
})
export type GetResults = z.output<typeof getResults>

const reportFormat = z.enum(['markdown', 'csv'])
export type ReportFormat = z.output<typeof reportFormat>
export const getReport = getResults
  .extend({
    format: withDefault(reportFormat, 'markdown').meta({
      description: 'markdown: a report for a document; csv: a row per metric and variant, in fractions',
    }),
  })
  .meta({ id: 'GetReport' })
export type GetReport = z.output<typeof getReport>

export const freezeResults = z
  .strictObject({ experiment_id: experimentRef, run: furtherQuestion.run })
  .meta({ id: 'FreezeResults' })
export type FreezeResults = z.output<typeof freezeResults>
