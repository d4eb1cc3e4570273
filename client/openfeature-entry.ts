/** An action of a user, or something that was shown to them. */
export type ReportedEvent = {
  user_id: string
  /** A name such as `purchase`. The metrics of experiments select events by their type. */
  type: string
  experiment_id?: number
  /** JSON; `value` is the number that metrics add up. */
  properties?: object
}

/** An exposure: a user was shown their variant of an experiment. */
export type Shown = {
  user_id: string
  experiment_id: number
  variant_id: number | undefined
  /** The experiment's run. During one run a user keeps their variant and is exposed once. */
  run_id: number | undefined
}

/** An event that is not confirmed yet. `key` identifies an exposure among those reported before. */
export type Entry = { readonly event: ReportedEvent; readonly json: string; readonly key?: string; state: State }
/** `sent on hide`: sent when the page was hidden, and not sent again before this request ends. */
type State = 'waiting' | 'sent on hide' | 'settled'

export const EXPOSURE_EVENT = '$exposure'
/** The number of events that the platform accepts in one request. */
export const MAX_BATCH = 1000
const MAX_REMEMBERED = 50_000

/**
 * Writes an event as JSON, with its id and the current time. The empty `attributes` make the platform accept any user
 * id: evaluations store decisions of users without a profile.
 * @returns undefined if the properties cannot be written as JSON
 */
export function toJson(event: ReportedEvent, event_id: string): string | undefined {
  try {
    return JSON.stringify({ ...event, event_id, timestamp: new Date().toISOString(), attributes: {} })
  } catch {
    return undefined
  }
}

/**
 * Makes the event id of an exposure. Every page and process makes the same id in one run, so the exposure counts once.
 */
export const exposureId = ({ experiment_id, run_id, variant_id }: Shown) =>
  run_id === undefined ? randomId() : `${EXPOSURE_EVENT} ${experiment_id} ${run_id} ${variant_id}`

/**
 * Makes a random id. `randomUUID` is missing on pages without HTTPS, and all of `crypto` is missing in React Native.
 */
export function randomId(): string {
  const { crypto } = globalThis as { crypto?: Partial<typeof globalThis.crypto> }
  const bytes = crypto?.getRandomValues?.(new Uint8Array(16)) ?? { length: 16 }
  const hex = (byte = Math.floor(Math.random() * 256)) => byte.toString(16).padStart(2, '0')
  return Array.from<number | undefined, string>(bytes, (byte) => hex(byte)).join('')
}

/** Adds a key to the set and, beyond 50,000 keys, deletes the oldest. */
export function remember(keys: Set<string>, key: string) {
  keys.add(key)
  if (keys.size > MAX_REMEMBERED) for (const oldest of keys.values()) return keys.delete(oldest)
}

/** Takes as many of the first entries as fit into one body, at least one. @param maxCharacters of the body's JSON */
export function takeBatch(entries: readonly Entry[], maxCharacters: number): Entry[] {
  let characters = 0
  const end = entries.slice(0, MAX_BATCH).findIndex(({ json }) => {
    characters += json.length + 1
    return characters > maxCharacters
  })
  return entries.slice(0, end === -1 ? MAX_BATCH : Math.max(end, 1))
}
