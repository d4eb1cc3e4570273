import { z } from 'zod'
import { experimentRef, isReferenceKey, referenceKey } from '../definitions/reference-schema.ts'
import { updateOf } from '../fields.ts'
import {
  attributes as anyAttributes,
  id,
  idWith,
  instant,
  optional,
  storedJson,
  storedObject,
  timestamp,
  userId,
} from '../wire.ts'

const attributes = optional(anyAttributes).meta({
  description:
    'Merged over the stored profile for this call only. If attributes are given, also as {}, any user id is accepted',
  examples: [{ country_code: 'US' }],
})
const expose = optional(z.boolean()).meta({
  description: 'false: decides now without exposing the user; report the exposure later by an event',
})

const listedId = idWith(({ input }) =>
  isReferenceKey(input) ? `${input} is a key, not an id: name it in experiment_keys` : undefined,
)

/** The most experiments of one check. */
export const MAX_EXPERIMENTS = 1000

export const checkEligibility = z
  .strictObject({
    user_id: userId,
    experiment_ids: optional(z.array(listedId).max(MAX_EXPERIMENTS)).meta({ examples: [[1, 2, 3]] }),
    experiment_keys: optional(z.array(referenceKey).max(MAX_EXPERIMENTS)).meta({
      description: 'Experiments by key, instead of or beside experiment_ids; the answer then has their keys',
      examples: [['new-checkout-flow']],
    }),
    attributes,
    expose,
    preview: optional(z.boolean()).meta({
      description: 'true: returns the decision that would be made now; stores nothing, exposes nobody, starts nothing',
    }),
  })
  .refine(({ experiment_ids, experiment_keys }) => experiment_ids !== undefined || experiment_keys !== undefined, {
    path: ['experiment_ids'],
    message: 'is missing: give experiment_ids or experiment_keys',
  })
  .meta({ id: 'CheckEligibility' })
export type CheckEligibility = z.output<typeof checkEligibility>

export const decision = z
  .object({ variant_id: id, variant_name: z.string(), payload: storedJson.nullable() })
  .meta({ id: 'Decision' })
export const eligibility = z
  .object({
    eligible_experiment_ids: z.record(z.string(), decision).meta({
      description:
        'Decisions by experiment id, or by key for experiment_keys; experiments in which the user does not take part ' +
        'are left out',
    }),
  })
  .meta({ id: 'Eligibility' })
export type Eligibility = z.output<typeof eligibility>

export const getAssignment = z.strictObject({
  experiment_id: experimentRef,
  user_id: userId,
  expose: z
    .boolean()
    .optional()
    .meta({ description: 'false: decides now without exposing the user; report the exposure later by an event' }),
  preview: z.boolean().optional().meta({ description: 'true: stores nothing, exposes nobody, starts nothing' }),
})
export type GetAssignment = z.output<typeof getAssignment>
export const assignment = z
  .object({
    experiment_id: id,
    user_id: z.string(),
    variant_id: id,
    variant_name: z.string(),
    payload: storedJson.nullable(),
    assigned_at: timestamp
      .nullable()
      .meta({ description: 'null if nothing is stored, as for drafts and shipped variants' }),
  })
  .meta({ id: 'Assignment' })
export type AssignmentOutput = z.output<typeof assignment>

export const overrideOf = z.strictObject({ experiment_id: experimentRef, user_id: userId })
export type OverrideOf = z.output<typeof overrideOf>
export const overridesOf = z.strictObject({ experiment_id: experimentRef })
export const override = z
  .object({ experiment_id: id, user_id: z.string(), variant_id: id, created_at: timestamp })
  .meta({
    id: 'Override',
    description: 'A variant that is forced on a user. The results of the run leave the user out from then on',
  })

export const setOverride = updateOf(override, { experiment_id: experimentRef, user_id: userId, variant_id: id }).meta({
  id: 'SetOverride',
})
export type SetOverride = z.output<typeof setOverride>

/** The columns of the exposure log, in their order. A warehouse can recompute all counts from these columns. */
export const loggedAssignment = z
  .object({
    run: z.int().meta({ description: 'Number of the run in its experiment' }),
    run_id: id,
    run_started_at: timestamp,
    run_ended_at: timestamp.nullable(),
    user_id: z.string(),
    person_id: z
      .string()
      .meta({ description: "The owner of the user's id if the id is an alias, otherwise the same id" }),
    variant_id: id,
    variant_name: z.string(),
    period: z.int(),
    source: z.enum(['hash', 'event', 'alias']),
    assigned_at: timestamp,
    definition_version: z.int(),
    exposed_at: timestamp.nullable(),
    exposure_source: z.enum(['check', 'report', 'event']).nullable(),
    excluded_reason: z.enum(['crossover', 'override']).nullable(),
    joined_at: timestamp.nullable(),
    dimensions: z.record(z.string(), z.string()).nullable(),
  })
  .meta({ id: 'LoggedAssignment' })
export type LoggedAssignment = z.output<typeof loggedAssignment>

/** Names the experiment whose assignments are exported. */
export const assignmentsOf = z.strictObject({ experiment_id: experimentRef })

export const explainDecision = z
  .strictObject({
    experiment_id: experimentRef,
    user_id: userId,
    attributes: optional(anyAttributes).meta({ description: 'Merged over the stored profile, as in a check' }),
    at: optional(instant).meta({ description: 'A time that is not in the future; now by default' }),
  })
  .meta({ id: 'ExplainDecision' })
export type ExplainDecision = z.output<typeof explainDecision>

const position = z.number().meta({ description: "The user's position in [0, 100) in the draw of this step" })
export const clause = z
  .object({
    path: z.array(z.union([z.string(), z.number()])).meta({ description: 'The path of the test in the rule' }),
    attribute: z.string().nullable(),
    operator: z.string(),
    expected: storedJson,
    actual: storedJson.meta({ description: 'null if the attribute is missing' }),
    holds: z.boolean(),
  })
  .meta({ id: 'ExplainedClause' })
export const explainedSegment = z
  .object({ segment_id: id, member: z.boolean(), holds: z.boolean(), clauses: z.array(clause) })
  .meta({ id: 'ExplainedSegment' })
const step = z
  .object({
    step: z.enum([
      'status',
      'override',
      'assignment',
      'layer',
      'holdout',
      'prerequisites',
      'condition',
      'segments',
      'traffic',
      'allocation',
    ]),
    outcome: z.enum(['passed', 'answered', 'left out']),
    detail: z.string(),
    position: position.optional(),
    ranges: z
      .array(
        z.object({
          from: z.number(),
          to: z.number(),
          variant_id: id.optional(),
          variant_name: z.string().optional(),
          enabled: z.boolean().optional(),
        }),
      )
      .optional(),
    clauses: z.array(clause).optional(),
    segments: z.array(explainedSegment).optional(),
  })
  .meta({ id: 'DecisionStep' })
const definition = z.object({ version: z.int(), from: timestamp }).meta({
  id: 'DefinitionVersion',
  description: 'The version of the experiment, and the time from which it was in force',
})
export const explanation = z
  .object({
    experiment_id: id,
    user_id: z.string(),
    decided_as: z.string().meta({ description: 'The user id that draws; for an alias, the id of its owner' }),
    at: timestamp,
    definition,
    profile: z.enum(['current', 'current, with the attributes given']).meta({
      description:
        'The attribute values that the steps used. The draw of an assigned user used the values stored with the ' +
        'assignment',
    }),
    outcome: z.enum(['overridden', 'shipped', 'stored', 'preview', 'drawn', 'left out']),
    reason: z.string().nullable(),
    variant_id: id.nullable(),
    variant_name: z.string().nullable(),
    steps: z.array(step),
    warnings: z
      .array(z.string())
      .meta({ description: 'Further facts that matter, such as a stored rule that does not compile' }),
    assignment: z
      .object({
        run: z.int(),
        period: z.int(),
        variant_id: id,
        source: z.enum(['hash', 'event', 'alias']),
        assigned_at: timestamp,
        exposed_at: timestamp.nullable(),
        definition_version: z.int(),
      })
      .nullable(),
    drawn: z
      .object({
        decided_as: z
          .string()
          .meta({ description: 'The user id that was drawn; for a user who logged in later, the alias' }),
        definition,
        attributes: storedObject,
        segment_ids: z.array(id),
        variant_id: id.nullable(),
        steps: z.array(step),
      })
      .nullable()
      .meta({
        description:
          'How an assigned user was drawn; null if nobody was drawn, as by an event, or if the history does not ' +
          'reach back',
      }),
  })
  .meta({ id: 'Explanation' })
export type ExplanationOutput = z.output<typeof explanation>
