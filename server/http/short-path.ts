import type { FastifyRequest } from 'fastify'
import { eligibilityJson } from '../assignments/service.ts'
import { bearerToken, type Platform } from '../context.ts'
import { admits } from '../trpc.ts'

/**
 * Answers a request of a known user as JSON without the procedure's steps, where they would change nothing: the same key
 * check, the same decision from memory, no schema for what was checked when it was stored.
 * @returns null when it takes more: then the procedure answers
 */
type ShortPath = (platform: Platform, request: FastifyRequest) => string | null

/** By procedure; only what `npm run bench -- decisions` shows the need of. */
export const shortPaths: Record<string, ShortPath> = { 'assignments.checkEligibility': checkEligibility }

/** Lists longer than this are looked through for repetitions by the procedure. */
const MAX_IDS = 32

function checkEligibility(platform: Platform, { headers, body }: FastifyRequest): string | null {
  if (typeof body !== 'object' || body === null) return null
  const { user_id, experiment_ids, attributes, expose, preview } = body as Record<string, unknown>
  if (typeof user_id !== 'string' || attributes != null || preview != null) return null
  if (expose != null && typeof expose !== 'boolean') return null
  if (!Array.isArray(experiment_ids) || experiment_ids.length > MAX_IDS) return null
  for (let index = 0; index < experiment_ids.length; index++) {
    const id: unknown = experiment_ids[index]
    if (!Number.isInteger(id) || (id as number) < 1 || experiment_ids.indexOf(id) !== index) return null
  }
  const token = bearerToken(headers.authorization)
  const caller = token === undefined ? undefined : platform.keyRing.peek(token)
  if (!caller || !admits(caller, 'evaluate')) return null
  return eligibilityJson(platform, { user_id, experiment_ids, expose })
}
