import { z } from 'zod'
import { id, name, optional, page, storable, storedObject, text, timestamp, userId } from '../wire.ts'

/** Plain values mean equality; all of them must hold. null: nobody by rule, {}: everybody. */
export const rules = z
  .record(z.string().min(1).max(255), z.union([z.string(), z.number(), z.boolean(), z.null()]))
  .superRefine(storable)
  .meta({
    description: 'Attributes that must all be equal; null means nobody by rule, {} everybody',
    examples: [{ country_code: 'US', is_premium: true }],
  })

export const segment = z
  .object({
    id,
    name: z.string(),
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
  .meta({ id: 'Member', description: 'A hand-made member; the profile fields are null where there is no profile' })
export const segmentWithMembers = segment
  .extend({ users: z.array(member).meta({ description: 'The hand-made members, the first 1000' }) })
  .meta({ id: 'SegmentWithMembers' })
export type SegmentWithMembers = z.output<typeof segmentWithMembers>

export const createSegment = z
  .object({
    name: name.meta({ examples: ['US Premium Users'] }),
    description: optional(text).meta({ examples: ['Premium users from the US'] }),
    rules: optional(rules),
  })
  .meta({ id: 'CreateSegment' })
export type CreateSegment = z.output<typeof createSegment>

export const listSegments = page
export const segmentId = z.object({ segment_id: id })
export const updateSegment = z
  .object({
    segment_id: id,
    name: optional(name),
    description: optional(text).meta({ description: 'null clears it', examples: ['Updated description'] }),
    rules: optional(rules),
  })
  .meta({ id: 'UpdateSegment' })
export type UpdateSegment = z.output<typeof updateSegment>

export const assignUser = z
  .object({
    user_id: userId,
    segment_id: id,
    create: optional(z.boolean()).meta({ description: 'true accepts any valid user id, not only one that is known' }),
  })
  .meta({ id: 'AssignUser' })
export type AssignUser = z.output<typeof assignUser>

export const segmentLink = z.object({ experiment_id: id, segment_id: id }).meta({ id: 'SegmentLink' })
export type SegmentLink = z.output<typeof segmentLink>
