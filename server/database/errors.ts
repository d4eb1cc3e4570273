/** The codes of PostgreSQL and of the operating system that mean that the database cannot be reached now. */
const UNAVAILABLE = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOTFOUND',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  '57P01', // admin_shutdown
  '57P02', // crash_shutdown
  '57P03', // cannot_connect_now
  '53300', // too_many_connections
])
const UNAVAILABLE_MESSAGE =
  /connection terminated|timeout exceeded when trying to connect|query read timeout|connection error|client has encountered/i

type DatabaseError = { code?: string; message?: string; cause?: unknown; constraint?: string }

function* causes(error: unknown): Generator<DatabaseError> {
  for (let cause = error, depth = 0; cause && typeof cause === 'object' && depth < 5; depth++) {
    yield cause as DatabaseError
    cause = (cause as DatabaseError).cause
  }
}

/** True when the error says that the database could not be reached, so that a later attempt may succeed. */
export function isDatabaseUnavailable(error: unknown): boolean {
  for (const { code, message } of causes(error))
    if (
      (code !== undefined && (UNAVAILABLE.has(code) || code.startsWith('08'))) ||
      UNAVAILABLE_MESSAGE.test(message ?? '')
    )
      return true
  return false
}

/** Finds PostgreSQL's code of an error, such as 23505 for a violated unique constraint. */
export function databaseCode(error: unknown): string | undefined {
  for (const { code } of causes(error)) if (code && /^[0-9A-Z]{5}$/.test(code)) return code
  return undefined
}

/** Finds the name of the constraint that an error reports as violated. */
export function brokenConstraint(error: unknown): string | undefined {
  for (const { constraint } of causes(error)) if (constraint) return constraint
  return undefined
}

/** PostgreSQL's codes of transient errors: a deadlock, a serialization failure, a lock that was not granted in time. */
const TRANSIENT = new Set(['40P01', '40001', '55P03'])
export const isTransient = (error: unknown): boolean => TRANSIENT.has(databaseCode(error) ?? '')
