import { z } from 'zod'
import { clause, explainedSegment, explanation } from '../assignments/schema.ts'
import {
  attributes as anyAttributes,
  clearable,
  condition,
  distinct,
  id,
  instant,
  jsonObject,
  jsonValue,
  key,
  label,
  limit,
  optional,
  percent,
  storedJson,
  storedObject,
  text,
  timestamp,
  userId,
  valueType,
} from '../wire.ts'

/** Named by all rules of a flag together. */
export const MOST_SEGMENTS = 50
const ruleId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,49}$/, 'letters, digits, . _ and -, at most 50')
const rollout = z
  .array(z.object({ percent, value: jsonValue }))
  .min(1)
  .max(100)
  .meta({
    description:
      'Shares of the users whom the rule is for, drawn by hash of user, flag and rule id: at most 100 in all, and who is beyond them goes on to the next rule',
    examples: [[{ percent: 20, value: true }]],
  })
const experimentRule = z
  .object({
    experiment_id: id,
    values: z.array(z.object({ variant_id: id, value: jsonValue })).max(1000),
  })
  .meta({
    description:
      "The experiment decides: each variant's value, the flag's default value for those left out of the list; who is given no variant goes on to the next rule",
  })

const givenRule = z
  .object({
    id: optional(ruleId).meta({
      description: 'Its name, by which a rollout draws: kept as long as it is sent; its place in the list unless given',
      examples: ['beta'],
    }),
    description: optional(text),
    condition: optional(condition).meta({
      description: 'Whom it is for (see docs/conditions.md); everybody unless given',
    }),
    segment_ids: optional(z.array(id).max(MOST_SEGMENTS)).meta({
      description: 'And who is in any one of these; none: everybody',
    }),
    from: optional(instant).meta({ description: 'In force from this time on' }),
    until: optional(instant).meta({ description: 'In force before this time' }),
    value: optional(jsonValue).meta({ description: 'One value for all whom it is for; this, rollout or experiment' }),
    rollout: optional(rollout),
    experiment: optional(experimentRule),
  })
  .meta({ id: 'GivenFlagRule' })
export type GivenRule = z.output<typeof givenRule>

/** A rule as it is stored and shown; of `value`, `rollout` and `experiment` one is there. */
const flagRule = z
  .object({
    id: z.string(),
    description: z.string().nullable(),
    condition: storedObject.nullable(),
    segment_ids: z.array(id),
    from: z.string().nullable().meta({ format: 'date-time' }),
    until: z.string().nullable().meta({ format: 'date-time' }),
    value: storedJson.optional(),
    rollout: z.array(z.object({ percent: z.number(), value: storedJson })).optional(),
    experiment: z
      .object({ experiment_id: id, values: z.array(z.object({ variant_id: id, value: storedJson })) })
      .optional(),
  })
  .meta({ id: 'FlagRule' })
export type FlagRule = z.output<typeof flagRule>

const definition = {
  key: z.string(),
  type: valueType,
  value_schema: storedObject.nullable().meta({ description: 'The JSON Schema that values are checked against' }),
  default_value: storedJson,
  rules: z.array(flagRule),
  enabled: z.boolean(),
  description: z.string().nullable(),
  owner: z.string().nullable(),
  tags: z.array(z.string()),
  expected_life_days: z.int().nullable(),
  version: z.int(),
}
const staleReason = z.enum(['past its expected life', 'its experiment is finished']).meta({
  description: 'Why it may be time to remove it: from the code first, then here',
})
export const flag = z
  .object({
    ...definition,
    created_at: timestamp,
    updated_at: timestamp,
    stale: z.array(staleReason),
  })
  .meta({ id: 'Flag' })
export type FlagOutput = z.output<typeof flag>

const tag = label(100)
const settings = {
  value_schema: clearable(jsonObject).meta({
    description: 'A JSON Schema (2020-12) that values are checked against; for flags of type object',
    examples: [{ type: 'object', properties: { color: { type: 'string' } }, required: ['color'] }],
  }),
  rules: optional(z.array(givenRule).max(100)).meta({ description: 'In this order; the first that answers counts' }),
  enabled: optional(z.boolean()).meta({ description: "Off: the application's own default; true unless given" }),
  description: clearable(text),
  owner: clearable(label()).meta({ examples: ['checkout team'] }),
  tags: optional(distinct(z.array(tag).max(100))),
  expected_life_days: clearable(z.int().min(1).max(36_500)).meta({
    description: 'After so many days it is reported as stale; null: it is meant to stay',
  }),
}
export const createFlag = z
  .object({
    key: key.meta({ description: 'Unique among flags and experiments', examples: ['new-checkout'] }),
    type: valueType,
    default_value: jsonValue.meta({ description: 'What is answered where no rule does', examples: [false] }),
    ...settings,
  })
  .meta({
    id: 'CreateFlag',
    examples: [
      {
        key: 'new-checkout',
        type: 'boolean',
        default_value: false,
        rules: [{ condition: { country_code: 'US' }, rollout: [{ percent: 20, value: true }] }],
      },
    ],
  })
export type CreateFlag = z.output<typeof createFlag>
export const updateFlag = z
  .object({
    key,
    version: optional(z.int().positive()).meta({
      description: 'The version that the change was made from: a 409 if it is not the current one any more',
    }),
    default_value: optional(jsonValue),
    ...settings,
  })
  .meta({ id: 'UpdateFlag', examples: [{ enabled: false }] })
export type UpdateFlag = z.output<typeof updateFlag>
export const flagKey = z.object({ key })

export const listFlags = z.object({
  tag: tag.optional(),
  stale: z.boolean().optional().meta({ description: 'true: only those that may be removed; false: only the others' }),
  limit,
  after: key.optional().meta({ description: 'The last key of the page before' }),
})
export type ListFlags = z.output<typeof listFlags>

export const flagHistory = z.object({
  key,
  limit,
  after: id.optional().meta({ description: 'The last version of the page before' }),
})
export type FlagHistoryOf = z.output<typeof flagHistory>
export const flagVersion = z
  .object({
    version: z.int(),
    from: timestamp.meta({ description: 'In force from this time on' }),
    actor: z.string(),
    definition: z.object(definition).nullable().meta({ description: 'null: deleted' }),
  })
  .meta({ id: 'FlagVersion' })
export type FlagVersion = z.output<typeof flagVersion>

export const flagUses = z
  .object({
    segments: z.array(z.object({ id, name: z.string() })),
    experiments: z.array(z.object({ id, key: z.string(), name: z.string(), status: z.string() })),
  })
  .meta({ id: 'FlagUses', description: 'The segments and experiments that its rules name' })
export type FlagUses = z.output<typeof flagUses>

const attributes = optional(anyAttributes).meta({
  description: 'Merged over the stored profile for this call only; given (also as {}), any user id is accepted',
  examples: [{ country_code: 'US' }],
})
export const evaluateFlags = z
  .object({
    user_id: userId,
    keys: optional(z.array(z.string().min(1).max(100)).max(1000)).meta({
      description: 'Flags, and experiments read as flags; all of them unless given',
      examples: [['new-checkout']],
    }),
    attributes,
    expose: optional(z.boolean()).meta({
      description: 'true: the user meets what is answered now; otherwise report what is shown by $exposure events',
    }),
    preview: optional(z.boolean()).meta({ description: 'true: stores nothing, exposes nobody' }),
  })
  .meta({ id: 'EvaluateFlags' })
export type EvaluateFlags = z.output<typeof evaluateFlags>

const flagReason = z.enum(['STATIC', 'TARGETING_MATCH', 'SPLIT', 'DISABLED'])
const evaluatedFlag = z
  .object({
    value: storedJson.optional().meta({ description: "Missing: the application's own default" }),
    reason: flagReason,
    rule: z.string().nullable().meta({ description: 'The rule that answered' }),
    experiment_id: id.nullable(),
    variant_id: id.nullable(),
    variant_name: z.string().nullable(),
  })
  .meta({ id: 'EvaluatedFlag' })
export const evaluatedFlags = z
  .object({ flags: z.record(z.string(), evaluatedFlag).meta({ description: 'By key; unknown keys are left out' }) })
  .meta({ id: 'EvaluatedFlags' })
export type EvaluatedFlags = z.output<typeof evaluatedFlags>

export const explainFlag = z
  .object({
    key,
    user_id: userId,
    attributes: optional(anyAttributes).meta({ description: 'Merged over the stored profile, as in an evaluation' }),
    at: optional(instant).meta({ description: 'A time up to now; now unless given' }),
  })
  .meta({ id: 'ExplainFlag' })
export type ExplainFlag = z.output<typeof explainFlag>

const flagStep = z
  .object({
    rule: z.string().nullable().meta({ description: 'null: the flag itself' }),
    outcome: z.enum(['passed over', 'answered']),
    detail: z.string(),
    position: z.number().optional(),
    ranges: z.array(z.object({ from: z.number(), to: z.number(), value: storedJson })).optional(),
    clauses: z.array(clause).optional(),
    segments: z.array(explainedSegment.omit({ clauses: true })).optional(),
    experiment_id: id.optional(),
  })
  .meta({ id: 'FlagStep' })
export const flagExplanation = z
  .object({
    key: z.string(),
    user_id: z.string(),
    decided_as: z.string().meta({ description: 'The id that draws: of an alias its owner' }),
    at: timestamp,
    definition: z.object({ version: z.int(), from: timestamp }),
    value: storedJson.optional(),
    reason: flagReason,
    rule: z.string().nullable(),
    variant_id: id.nullable(),
    steps: z.array(flagStep),
    segments: z.array(explainedSegment).meta({ description: 'The segments that were looked at, each once' }),
    warnings: z.array(z.string()),
    experiments: z.array(explanation).meta({ description: 'Why each experiment that a rule names decides as it does' }),
  })
  .meta({ id: 'FlagExplanation' })
export type FlagExplanation = z.output<typeof flagExplanation>
