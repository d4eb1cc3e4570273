/** Something that a user did or met. */
export type ReportedEvent = {
  user_id: string
  /** Such as `purchase`; the metrics of experiments count events by it. */
  type: string
  experiment_id?: number
  /** JSON; `value` is the number that metrics add up. */
  properties?: object
}

/** That a user was shown what an experiment gives them. */
export type Shown = {
  user_id: string
  experiment_id: number
  variant_id: number | undefined
  /** The experiment's run; within one a user keeps their variant, and is exposed once. */
  run_id: number | undefined
}

/** An event on its way. `key`: of an exposure, what it is remembered by. */
export type Entry = { readonly event: ReportedEvent; readonly json: string; readonly key?: string; state: State }
/** `left with the page`: sent as the page was hidden, and left alone until that is answered, if anybody is there to hear. */
type State = 'waiting' | 'left with the page' | 'settled'

export const EXPOSURE_EVENT = '$exposure'
/** What the platform takes at once. */
export const MAX_BATCH = 1000
const MAX_REMEMBERED = 50_000

/** Any user id is welcome where attributes are given: evaluations store decisions of users without a profile. */
export function toJson(event: ReportedEvent, event_id: string): string | undefined {
  try {
    return JSON.stringify({ ...event, event_id, timestamp: new Date().toISOString(), attributes: {} })
  } catch {
    return undefined
  }
}

/** The same from every page and process that shows it within one run, so that it is one event. */
export const exposureId = ({ experiment_id, run_id, variant_id }: Shown) =>
  run_id === undefined ? randomId() : `${EXPOSURE_EVENT} ${experiment_id} ${run_id} ${variant_id}`

/** Not randomUUID: pages without HTTPS lack it, and React Native all of `crypto`. */
export function randomId(): string {
  const { crypto } = globalThis as { crypto?: Partial<typeof globalThis.crypto> }
  const bytes = crypto?.getRandomValues?.(new Uint8Array(16)) ?? { length: 16 }
  const hex = (byte = Math.floor(Math.random() * 256)) => byte.toString(16).padStart(2, '0')
  return Array.from<number | undefined, string>(bytes, (byte) => hex(byte)).join('')
}

/** Adds a key and, beyond 50,000, forgets the oldest. */
export function remember(keys: Set<string>, key: string) {
  keys.add(key)
  if (keys.size > MAX_REMEMBERED) for (const oldest of keys.values()) return keys.delete(oldest)
}

/** The first entries, one at least, that one body may hold. */
export function takeBatch(entries: readonly Entry[], maxCharacters: number): Entry[] {
  let characters = 0
  const end = entries.slice(0, MAX_BATCH).findIndex(({ json }) => {
    characters += json.length + 1
    return characters > maxCharacters
  })
  return entries.slice(0, end === -1 ? MAX_BATCH : Math.max(end, 1))
}
