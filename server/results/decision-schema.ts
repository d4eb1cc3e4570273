import { z } from 'zod'
import { id } from '../wire.ts'
import { variantName } from './part-schema.ts'

const outcome = z.enum(['ship', 'stop', 'continue', 'blocked', 'no_difference', 'inconclusive'])
const reasons = z
  .array(z.string())
  .meta({ description: 'Sentences with the figures on which the decision rests, most important first' })
const decided = {
  decided_at: z.iso.datetime().nullable().meta({
    description: 'Time of the look that reached the decision, which then stands; null where none is recorded',
  }),
  decided_users: z
    .int()
    .nullable()
    .meta({ description: 'Analysed users of all variants at the look that reached the decision' }),
}
const variantId = id.meta({ description: 'Id of the treatment' })
const metricKey = z.string().meta({ description: 'Key of the metric' })
export const decision = z
  .object({
    outcome: outcome.meta({
      description:
        'ship: a treatment is better; stop: every treatment does harm; continue: nothing is known yet; ' +
        'blocked: the data cannot be trusted; no_difference: the run is over, and an effect of the planned size is ' +
        'excluded in both directions; inconclusive: the run is over, and an effect of the planned size is possible',
    }),
    variant_id: id.nullable().meta({ description: 'The variant to ship; null unless the outcome is ship' }),
    variant_name: z.string().nullable().meta({ description: 'The name of the variant to ship' }),
    reasons,
    ...decided,
    days_left: z.int().nullable().meta({
      description: 'Days until the planned users are reached, at the rate so far; null once every treatment is decided',
    }),
    next_look_at_users: z
      .int()
      .nullable()
      .meta({
        description:
          'Number of users at which an analysis with planned looks is read next; null: at any time, or no more, as once ' +
          'every treatment is decided',
      }),
    variants: z
      .array(
        z.object({
          variant_id: variantId,
          variant_name: variantName,
          outcome: outcome.meta({ description: 'As outcome of the whole' }),
          reasons,
          ...decided,
        }),
      )
      .meta({ description: 'The decision on each enabled treatment' }),
    verdicts: z
      .array(
        z.object({
          key: metricKey,
          variant_id: variantId,
          variant_name: variantName,
          verdict: z.enum(['better', 'worse']).meta({ description: 'In the direction of the metric' }),
        }),
      )
      .meta({ description: 'Significant primary metrics, also where the decision is blocked' }),
    harms: z.array(z.object({ key: metricKey, variant_id: variantId, variant_name: variantName })).meta({
      description:
        'Primary metrics and guardrails that the always-valid test finds worse, whatever the method; they raise ' +
        'alerts. None while blocked',
    }),
  })
  .meta({ id: 'ResultDecision', description: 'What to do, by the planned method, and why' })
