import { z } from 'zod'
import { definitionKey, experimentRef, segmentRef } from '../definitions/reference-schema.ts'
import { updateOf } from '../fields.ts'
import {
  changeable,
  clearable,
  condition,
  id,
  isUserId,
  limit,
  name,
  namedPage,
  optional,
  storedObject,
  text,
  timestamp,
  userId,
} from '../wire.ts'

export const rules = condition.meta({
  description:
    'Condition that selects members (see docs/conditions.md). A plain value means equality, an object holds ' +
    'operators, and all entries must hold. null selects nobody, {} everybody',
  examples: [{ country_code: 'US', is_premium: true }],
})

export const segment = z
  .object({
    id,
    name: z.string(),
    key: z.string(),
    description: z.string().nullable(),
    rules: storedObject.nullable(),
    created_at: timestamp,
  })
  .meta({ id: 'Segment' })

export const member = z
  .object({
    id: z.string(),
    first_name: z.string().nullable(),
    last_name: z.string().nullable(),
    email: z.string().nullable(),
    is_premium: z.boolean().nullable(),
    country_code: z.string().nullable(),
    created_at: timestamp.nullable(),
  })
  .meta({ id: 'Member', description: 'A hand-made member; the profile fields are null if there is no profile' })
export const segmentWithMembers = segment
  .extend({ users: z.array(member).meta({ description: 'The hand-made members, the first 1000' }) })
  .meta({ id: 'SegmentWithMembers' })
export type SegmentWithMembers = z.output<typeof segmentWithMembers>

export const createSegment = z
  .strictObject({
    name: name.meta({ examples: ['US Premium Users'] }),
    key: optional(definitionKey).meta({ examples: ['us-premium-users'] }),
    description: optional(text).meta({ examples: ['Premium users from the US'] }),
    rules: optional(rules),
  })
  .meta({ id: 'CreateSegment' })
export type CreateSegment = z.output<typeof createSegment>

export const listSegments = namedPage
export const segmentId = z.strictObject({ segment_id: segmentRef })
export const updateSegment = updateOf(segmentWithMembers, {
  segment_id: segmentRef,
  name: optional(name),
  key: changeable(definitionKey),
  description: clearable(text).meta({ description: 'null clears it', examples: ['Updated description'] }),
  rules: clearable(rules),
}).meta({ id: 'UpdateSegment' })
export type UpdateSegment = z.output<typeof updateSegment>

export const assignUser = z
  .strictObject({
    user_id: userId,
    segment_id: segmentRef,
    create: optional(z.boolean()).meta({
      description: 'true accepts any valid user id; by default the user must be known',
    }),
  })
  .meta({ id: 'AssignUser' })
export type AssignUser = z.output<typeof assignUser>

export const membership = z.strictObject({ user_id: userId, segment_id: segmentRef }).meta({ id: 'Membership' })
export type Membership = z.output<typeof membership>

const MOST_IDS = 100_000
const MOST_ISSUES = 20
/** A list of user ids; at most 20 faults are reported. */
const userIds = z
  .array(z.unknown())
  .superRefine((items, ctx) => {
    if (items.length > MOST_IDS) {
      ctx.addIssue({ code: 'custom', message: `${items.length} ids are too many: give at most ${MOST_IDS} at once` })
      return
    }
    for (const [index, item] of items.entries()) {
      if (isUserId(item)) continue
      const fault = userId.safeParse(item).error?.issues[0]
      if (fault) ctx.addIssue({ code: 'custom', message: fault.message, path: [index] })
      if (ctx.issues.length >= MOST_ISSUES) return
    }
  })
  .meta({
    description: `User ids, at most ${MOST_IDS}; unknown users are accepted`,
    examples: [['user_12345', 'user_67890']],
    items: { type: 'string', minLength: 1 },
    maxItems: MOST_IDS,
  }) as unknown as z.ZodType<string[], string[]>

export const changeMembers = z
  .strictObject({ segment_id: segmentRef, add: optional(userIds), remove: optional(userIds) })
  .meta({ id: 'ChangeMembers' })
export type ChangeMembers = z.output<typeof changeMembers>
export const membersChanged = z
  .object({
    added: z.int().meta({ description: 'Number of users who were not members before' }),
    removed: z.int().meta({ description: 'Number of users who were members before' }),
    members: z.int().meta({ description: 'Number of hand-made members after the change' }),
  })
  .meta({ id: 'MembersChanged' })
export type MembersChanged = z.output<typeof membersChanged>

export const listMembers = z.strictObject({
  segment_id: segmentRef,
  limit,
  after: userId.optional().meta({ description: 'The last id of the page before' }),
})
export type ListMembers = z.output<typeof listMembers>
export const memberId = z.object({ id: z.string() }).meta({ id: 'MemberId' })
export type MemberId = z.output<typeof memberId>

export const segmentUses = z
  .object({
    experiments: z.array(z.object({ id, name: z.string(), status: z.string().meta({ examples: ['running'] }) })),
    segments: z.array(z.object({ id, name: z.string() })),
    flags: z.array(z.string()).meta({ description: 'Keys of the flags' }),
  })
  .meta({
    id: 'SegmentUses',
    description: 'The experiments that are linked to the segment or name it, and the segments and flags that name it',
  })
export type SegmentUses = z.output<typeof segmentUses>

export const previewSegment = z
  .strictObject({
    rules: optional(rules),
    segment_id: optional(segmentRef).meta({ description: 'A stored segment, instead of rules' }),
    sample: optional(z.int().min(1).max(100_000)).meta({
      description:
        'The most profiles to read; if there are more, a random sample of about this size is read. 20000 by default',
      examples: [20_000],
    }),
  })
  .meta({ id: 'PreviewSegment', examples: [{ rules: { country_code: 'US' } }] })
export type PreviewSegment = z.output<typeof previewSegment>
export const segmentPreview = z
  .object({
    profiles: z.int().meta({ description: 'Number of stored profiles' }),
    sampled: z.int().meta({ description: 'Number of profiles that were read' }),
    by_rules: z.int().meta({ description: 'Number of profiles that match the rules' }),
    by_hand: z
      .int()
      .meta({ description: 'Number of hand-made members, with or without a profile; 0 if rules are given' }),
    users: z.int().meta({ description: 'Number of users who belong by rule, by hand or both, each counted once' }),
    estimated: z.boolean().meta({ description: 'true: by_rules and users are scaled up from a sample' }),
  })
  .meta({ id: 'SegmentPreview' })
export type SegmentPreview = z.output<typeof segmentPreview>

export const segmentLink = z
  .strictObject({ experiment_id: experimentRef, segment_id: segmentRef })
  .meta({ id: 'SegmentLink' })
export type SegmentLink = z.output<typeof segmentLink>
