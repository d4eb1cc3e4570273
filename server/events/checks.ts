import { invalid } from '../errors.ts'
import { nearestNames } from '../evaluation/unknown-name.ts'
import { EXPOSURE_EVENT } from '../wire.ts'
import type { RecordEvent } from './schema.ts'

/** Checks of an event that need no definitions. */

const AHEAD_MS = 5 * 60 * 1000
/** Earlier times are rejected as mistakes, such as seconds for milliseconds or a clock at its epoch. */
const EARLIEST = Date.UTC(2000, 0, 1)

/**
 * Computes the event's time in milliseconds since 1970. If the sender's clock at sending is known, the time is corrected
 * by its difference from the time of receipt. Null means now.
 * @throws DomainError BAD_REQUEST for a time that is too far ahead, or before the year 2000
 */
export function timeOf({ timestamp, sent_at }: Pick<RecordEvent, 'timestamp' | 'sent_at'>): number | null {
  if (!timestamp) return null
  const now = Date.now()
  const time = timestamp.getTime() + (sent_at ? now - sent_at.getTime() : 0)
  if (time > now + AHEAD_MS)
    throw invalid(
      `${shownTime(timestamp, sent_at, time)} is more than 5 minutes ahead of the server's clock`,
      'timestamp',
    )
  if (time < EARLIEST)
    throw invalid(
      `${shownTime(timestamp, sent_at, time)} is before the year 2000: send the time of the event`,
      'timestamp',
    )
  return time
}

/** Shows a time and, if `sent_at` moved it, the corrected time, which is the one that is refused. */
function shownTime(timestamp: Date, sentAt: Date | null | undefined, time: number) {
  if (!sentAt) return timestamp.toISOString()
  return `${timestamp.toISOString()}, corrected by sent_at ${sentAt.toISOString()} to ${new Date(time).toISOString()},`
}

/**
 * Refuses an event that is meant to expose its user but would expose nobody.
 * @throws DomainError BAD_REQUEST for a `$exposure` without an experiment, and for a misspelt `$exposure`
 */
export function expectExposing({ type, experiment_id }: Pick<RecordEvent, 'type' | 'experiment_id'>) {
  if (!type.startsWith('$')) return
  if (type === EXPOSURE_EVENT) {
    if (experiment_id == null)
      throw invalid(
        `must be given with the type ${type}: name the experiment whose variant the user met`,
        'experiment_id',
      )
  } else if (/^\$expose/i.test(type) || nearestNames(type, [EXPOSURE_EVENT]).length > 0)
    throw invalid(`${type} exposes nobody (did you mean ${EXPOSURE_EVENT}?)`, 'type')
}
