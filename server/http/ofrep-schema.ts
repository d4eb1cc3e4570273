import { z } from 'zod'
import { id } from '../wire.ts'

/** Schemas of OFREP's requests and answers. They give the types of the answers and a part of the OpenAPI document. */

export const flagKey = z.string().meta({ examples: ['new-checkout'] })

export const ofrepRequest = z
  .strictObject({
    context: z
      .looseObject({ targetingKey: z.string().optional().meta({ description: "The user's id" }) })
      .optional()
      .meta({
        description: "The user's id and any attributes, which are merged over the stored profile for this call only",
        examples: [{ targetingKey: 'user_12345', country_code: 'US' }],
      }),
  })
  .meta({ id: 'OfrepRequest' })

export const ofrepEvaluation = z
  .object({
    key: flagKey,
    reason: z.enum(['STATIC', 'TARGETING_MATCH', 'SPLIT', 'DISABLED']),
    variant: z.string().optional().meta({ description: 'The variant of the experiment that decided' }),
    value: z.unknown().optional().meta({ description: "If missing, the application's own default applies" }),
    metadata: z
      .object({
        rule: z.string().optional().meta({ description: 'The rule that answered' }),
        experiment_id: id.optional(),
        variant_id: id.optional(),
        variant_name: z.string().optional(),
        run_id: id.optional(),
        exposure: z
          .enum(['recorded', 'report', 'none'])
          .optional()
          .meta({ description: 'report: send a $exposure event when the user sees the variant' }),
        targeting_key: z
          .string()
          .optional()
          .meta({ description: 'In bulk evaluations: the user whose exposure is to be reported' }),
      })
      .optional(),
  })
  .meta({ id: 'OfrepEvaluation' })
export type OfrepEvaluation = z.output<typeof ofrepEvaluation>

export const ofrepFailure = z
  .object({
    key: flagKey.optional().meta({ description: 'Missing if a bulk evaluation failed as a whole' }),
    errorCode: z.enum(['PARSE_ERROR', 'TARGETING_KEY_MISSING', 'INVALID_CONTEXT', 'FLAG_NOT_FOUND', 'GENERAL']),
    errorDetails: z.string(),
  })
  .meta({ id: 'OfrepFailure' })
export type OfrepFailure = z.output<typeof ofrepFailure>
export type ErrorCode = OfrepFailure['errorCode']

export const ofrepBulkEvaluation = z
  .object({
    flags: z.array(z.xor([ofrepEvaluation, ofrepFailure])),
    eventStreams: z.array(
      z.object({
        type: z.literal('sse'),
        endpoint: z.object({
          requestUri: z.string().meta({ description: 'Relative to the origin of this server' }),
        }),
        inactivityDelaySec: z.int().optional(),
      }),
    ),
  })
  .meta({ id: 'OfrepBulkEvaluation' })
export type OfrepBulkEvaluation = z.output<typeof ofrepBulkEvaluation>
