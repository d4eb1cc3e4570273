import { isDeepStrictEqual } from 'node:util'
import type { StoredEvent } from './queries.ts'
import type { RecordEvent } from './schema.ts'

/**
 * Compares an event that repeats an event id with the event that is stored under this id. A time that was corrected by
 * `sent_at` is not compared, because each sending corrects it by another amount.
 * @returns what the sender must know; null if the stored event has all that was sent
 */
export function differenceOf(sent: RecordEvent, stored: StoredEvent): string | null {
  const { timestamp, experiment_id, variant_id, properties } = sent
  const differs = {
    type: sent.type !== stored.type,
    experiment_id: experiment_id != null && experiment_id !== stored.experiment_id,
    variant_id: variant_id != null && variant_id !== stored.variant_id,
    timestamp: timestamp != null && !sent.sent_at && timestamp.getTime() !== stored.timestamp,
    properties: !isDeepStrictEqual(asJson(properties ?? null), asJson(stored.properties)),
  }
  const names = Object.entries(differs).flatMap(([name, isOther]) => (isOther ? [name] : []))
  if (names.length === 0) return null
  return (
    `An event with this event_id was recorded before with other contents (${names.join(', ')}); this one was not ` +
    'stored: send another event by another event_id'
  )
}

/** Brings numbers such as -0 to the form in which they are stored. */
const asJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value))
