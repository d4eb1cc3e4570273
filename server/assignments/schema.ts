import { z } from 'zod'
import { id, jsonObject, optional, storedJson, timestamp, userId } from '../wire.ts'

const attributes = optional(jsonObject).meta({
  description: 'Merged over the stored profile for this call only; given (also as {}), any user id is accepted',
  examples: [{ country_code: 'US' }],
})
const expose = optional(z.boolean()).meta({
  description: 'false: decide now, and report the exposure later by an event',
})

export const checkEligibility = z
  .object({
    user_id: userId,
    experiment_ids: z
      .array(id)
      .max(1000)
      .meta({ examples: [[1, 2, 3]] }),
    attributes,
    expose,
  })
  .meta({ id: 'CheckEligibility' })
export type CheckEligibility = z.output<typeof checkEligibility>

export const decision = z
  .object({ variant_id: id, variant_name: z.string(), payload: storedJson.nullable() })
  .meta({ id: 'Decision' })
export const eligibility = z
  .object({
    eligible_experiment_ids: z
      .record(z.string(), decision)
      .meta({ description: 'By experiment id; experiments the user does not take part in are left out' }),
  })
  .meta({ id: 'Eligibility' })
export type Eligibility = z.output<typeof eligibility>

export const getAssignment = z.object({
  experiment_id: id,
  user_id: userId,
  expose: z.boolean().optional().meta({ description: 'false: decide now, and report the exposure later by an event' }),
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
      .meta({ description: 'null where nothing is stored: drafts and shipped variants' }),
  })
  .meta({ id: 'Assignment' })
export type AssignmentOutput = z.output<typeof assignment>
