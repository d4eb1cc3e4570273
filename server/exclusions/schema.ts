import { z } from 'zod'
import { experimentRef } from '../definitions/reference-schema.ts'
import { label, optional, timestamp, userId } from '../wire.ts'

const userIds = z.array(userId).min(1).max(10_000)

export const excludeUsers = z
  .strictObject({
    experiment_id: experimentRef,
    user_ids: userIds,
    note: optional(label()).meta({ description: 'The reason, shown in the list of excluded users' }),
  })
  .meta({ id: 'ExcludeUsers', examples: [{ user_ids: ['tester_1'], note: 'our own testers' }] })
export type ExcludeUsers = z.output<typeof excludeUsers>
export const includeUsers = z
  .strictObject({ experiment_id: experimentRef, user_ids: userIds })
  .meta({ id: 'IncludeUsers', examples: [{ user_ids: ['tester_1'] }] })
export type IncludeUsers = z.output<typeof includeUsers>
export const listExcluded = z.strictObject({
  experiment_id: experimentRef,
  limit: z.int().min(1).max(10_000).optional(),
  after: userId.optional().meta({ description: 'The last user id of the previous page' }),
})
export type ListExcluded = z.output<typeof listExcluded>
export const excludedUser = z
  .object({ user_id: z.string(), note: z.string().nullable(), created_at: timestamp })
  .meta({ id: 'ExcludedUser' })
export const changedUsers = z
  .object({ changed: z.int().meta({ description: 'The number of users whose state changed' }) })
  .meta({ id: 'ChangedUsers' })
