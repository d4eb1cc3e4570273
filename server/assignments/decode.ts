import { isReferenceKey } from '../definitions/reference-schema.ts'
import { ATTRIBUTE_LIMITS, isId, isUserId, type Json, jsonFault } from '../wire.ts'
import { type CheckEligibility, MAX_EXPERIMENTS } from './schema.ts'

/**
 * Reads the input of a check from parsed JSON, without zod. It accepts exactly what the schema `checkEligibility`
 * accepts and returns the same value; `test/assignments/decode.test.ts` holds it to that. Zod needs longer for the body
 * than the platform needs for the decision (`npm run bench -- decisions`).
 * @returns null for a body that the schema refuses; the schema then names the faults
 */
export function decodeCheck(body: unknown): CheckEligibility | null {
  if (!isObject(body)) return null
  for (const name in body) if (!isField(name)) return null
  const { user_id, experiment_ids, experiment_keys, attributes, expose, preview } = body
  if (!isUserId(user_id) || (experiment_ids == null && experiment_keys == null)) return null
  if (experiment_ids != null && !isList(experiment_ids, isId)) return null
  if (experiment_keys != null && !isList(experiment_keys, isReferenceKey)) return null
  if (attributes != null && (!isObject(attributes) || jsonFault(attributes, ATTRIBUTE_LIMITS) !== null)) return null
  if (expose != null && typeof expose !== 'boolean') return null
  if (preview != null && typeof preview !== 'boolean') return null
  return {
    user_id,
    experiment_ids: experiment_ids ?? undefined,
    experiment_keys: experiment_keys ?? undefined,
    attributes: (attributes as Record<string, Json> | null | undefined) ?? undefined,
    expose: expose ?? undefined,
    preview: preview ?? undefined,
  }
}

/** A switch takes a third of the time of a set, and every check passes here for each of its fields. */
function isField(name: string): boolean {
  switch (name) {
    case 'user_id':
    case 'experiment_ids':
    case 'experiment_keys':
    case 'attributes':
    case 'expose':
    case 'preview':
      return true
    default:
      return false
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function isList<Item>(value: unknown, isItem: (item: unknown) => item is Item): value is Item[] {
  if (!Array.isArray(value) || value.length > MAX_EXPERIMENTS) return false
  for (const item of value) if (!isItem(item)) return false
  return true
}
