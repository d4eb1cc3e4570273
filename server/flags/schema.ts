import { z } from 'zod'
import { clause, explainedSegment, explanation } from '../assignments/schema.ts'
import { experimentRef, segmentRef } from '../definitions/reference-schema.ts'
import { updateOf } from '../fields.ts'
import {
  attributes as anyAttributes,
  changeable,
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
  tag,
  text,
  timestamp,
  userId,
  valueType,
  withoutNull,
} from '../wire.ts'

/** The most segments that all rules of a flag may name together. */
export const MOST_SEGMENTS = 50
const ruleId = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,49}$/,
    'must be 1 to 50 letters, digits, dots, _ or -, and begin with a letter or a digit',
  )
const rollout = z
  .array(z.strictObject({ percent, value: jsonValue }))
  .min(1)
  .max(100)
  .meta({
    description:
      'Shares of the users whom the rule matches, in percent, at most 100 in all. A hash of the user, the flag ' +
      'and the rule id draws the share. Users beyond the shares go on to the next rule',
    examples: [[{ percent: 20, value: true }]],
  })
const experimentRule = z
  .strictObject({
    experiment_id: experimentRef,
    values: z.array(z.strictObject({ variant_id: id, value: jsonValue })).max(1000),
  })
  .meta({
    description:
      "The experiment decides. Users get the value of their variant, or the flag's default value if the list " +
      'lacks their variant. Users without a variant go on to the next rule',
  })

const givenRule = z
  .strictObject({
    id: optional(ruleId).meta({
      description:
        'A rollout draws by this id. A rule without an id keeps the id of the stored rule that it resembles most, ' +
        'so that moving it changes no draw; a new rule gets a free number',
      examples: ['beta'],
    }),
    description: optional(text),
    condition: optional(condition).meta({
      description: 'Condition that users must meet (see docs/conditions.md); everybody by default',
    }),
    segment_ids: optional(z.array(segmentRef).max(MOST_SEGMENTS)).meta({
      description: 'Users must also be in at least one of these segments; [] means everybody',
    }),
    from: optional(instant).meta({ description: 'The rule is in force from this time on' }),
    until: optional(instant).meta({ description: 'The rule is in force before this time' }),
    value: optional(jsonValue).meta({
      description: 'One value for all users whom the rule matches. Give value, rollout or experiment',
    }),
    rollout: optional(rollout),
    experiment: optional(experimentRule),
  })
  .meta({ id: 'GivenFlagRule' })
export type GivenRule = z.output<typeof givenRule>

/** A rule as it is stored and returned, with exactly one of `value`, `rollout` and `experiment`. */
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
  description: 'Why it may be time to remove the flag, first from the code, then here',
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

const settings = {
  value_schema: clearable(jsonObject).meta({
    description: 'A JSON Schema (2020-12) that values are checked against; for flags of type object',
    examples: [{ type: 'object', properties: { color: { type: 'string' } }, required: ['color'] }],
  }),
  rules: optional(z.array(givenRule).max(100)).meta({
    description: 'Rules are evaluated in this order; the first that gives a value wins',
  }),
  enabled: optional(z.boolean()).meta({ description: 'false: applications use their own default; true by default' }),
  description: clearable(text),
  owner: clearable(label()).meta({ examples: ['checkout team'] }),
  tags: optional(distinct(z.array(tag).max(100))),
  expected_life_days: clearable(z.int().min(1).max(36_500)).meta({
    description: 'The flag is reported as stale after this many days; null: the flag is meant to stay',
  }),
}
export const createFlag = z
  .strictObject({
    key: key.meta({ description: 'Unique among flags and experiments', examples: ['new-checkout'] }),
    type: valueType,
    default_value: jsonValue.meta({ description: 'The value if no rule gives one', examples: [false] }),
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
export const updateFlag = updateOf(flag, {
  key,
  version: optional(z.int().positive()).meta({
    description: 'The version that the change is based on; the answer is 409 if that is not the current version',
  }),
  default_value: changeable(jsonValue),
  ...settings,
  rules: withoutNull(settings.rules),
  enabled: withoutNull(settings.enabled),
  tags: withoutNull(settings.tags),
}).meta({ id: 'UpdateFlag', examples: [{ enabled: false }] })
export type UpdateFlag = z.output<typeof updateFlag>
export const flagKey = z.strictObject({ key })

export const listFlags = z.strictObject({
  tag: tag.optional(),
  owner: label().optional(),
  q: label().optional().meta({ description: 'Only flags whose key or description contains this text, in any case' }),
  stale: z.boolean().optional().meta({ description: 'true: only flags that may be stale; false: only the others' }),
  sort: z
    .enum(['key', 'created_at', '-key', '-created_at'])
    .optional()
    .meta({ description: 'The order; - before a field means descending; key by default' }),
  limit,
  after: key.optional().meta({ description: 'The last key of the page before' }),
})
export type ListFlags = z.output<typeof listFlags>

export const flagHistory = z.strictObject({
  key,
  limit,
  after: id.optional().meta({ description: 'The last version of the page before' }),
})
export type FlagHistoryOf = z.output<typeof flagHistory>
export const flagVersion = z
  .object({
    version: z.int(),
    from: timestamp.meta({ description: 'The version is in force from this time on' }),
    actor: z.string(),
    definition: z.object(definition).nullable().meta({ description: 'null: the flag was deleted' }),
  })
  .meta({ id: 'FlagVersion' })
export type FlagVersion = z.output<typeof flagVersion>

export const flagUses = z
  .object({
    segments: z.array(z.object({ id, name: z.string() })),
    experiments: z.array(z.object({ id, key: z.string(), name: z.string(), status: z.string() })),
  })
  .meta({ id: 'FlagUses', description: 'The segments and experiments that the rules of the flag name' })
export type FlagUses = z.output<typeof flagUses>

const attributes = optional(anyAttributes).meta({
  description:
    'Merged over the stored profile for this call only. If attributes are given, also as {}, any user id is accepted',
  examples: [{ country_code: 'US' }],
})
export const evaluateFlags = z
  .strictObject({
    user_id: userId,
    keys: optional(z.array(z.string().min(1).max(100)).max(1000)).meta({
      description: 'Keys of flags and of experiments read as flags; all by default',
      examples: [['new-checkout']],
    }),
    attributes,
    expose: optional(z.boolean()).meta({
      description: 'true: the call exposes the user. Otherwise report each variant that is shown by a $exposure event',
    }),
    preview: optional(z.boolean()).meta({ description: 'true: the call stores nothing and exposes nobody' }),
  })
  .meta({ id: 'EvaluateFlags' })
export type EvaluateFlags = z.output<typeof evaluateFlags>

const flagReason = z.enum(['STATIC', 'TARGETING_MATCH', 'SPLIT', 'DISABLED'])
const evaluatedFlag = z
  .object({
    value: storedJson.optional().meta({ description: 'If missing, the application uses its own default' }),
    reason: flagReason,
    rule: z.string().nullable().meta({ description: 'The id of the rule that gave the value; null if none did' }),
    experiment_id: id.nullable(),
    variant_id: id.nullable(),
    variant_name: z.string().nullable(),
  })
  .meta({ id: 'EvaluatedFlag' })
export const evaluatedFlags = z
  .object({
    flags: z.record(z.string(), evaluatedFlag).meta({ description: 'Flags by key; unknown keys are left out' }),
  })
  .meta({ id: 'EvaluatedFlags' })
export type EvaluatedFlags = z.output<typeof evaluatedFlags>

export const explainFlag = z
  .strictObject({
    key,
    user_id: userId,
    attributes: optional(anyAttributes).meta({ description: 'Merged over the stored profile, as in an evaluation' }),
    at: optional(instant).meta({ description: 'A time that is not in the future; now by default' }),
  })
  .meta({ id: 'ExplainFlag' })
export type ExplainFlag = z.output<typeof explainFlag>

const flagStep = z
  .object({
    rule: z.string().nullable().meta({ description: 'The id of the rule; null for the flag itself' }),
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
    decided_as: z
      .string()
      .meta({ description: 'The id that draws rollouts: the first id of this person that was known' }),
    at: timestamp,
    definition: z.object({ version: z.int(), from: timestamp }),
    value: storedJson.optional(),
    reason: flagReason,
    rule: z.string().nullable(),
    variant_id: id.nullable(),
    steps: z.array(flagStep),
    segments: z.array(explainedSegment).meta({ description: 'The segments that were evaluated, each once' }),
    warnings: z.array(z.string()),
    experiments: z
      .array(explanation)
      .meta({ description: 'Explains the decision of each experiment that a rule names' }),
  })
  .meta({ id: 'FlagExplanation' })
export type FlagExplanation = z.output<typeof flagExplanation>
