/** Makes events of known users. The bodies are built before the load, so that sending them costs almost no CPU time. */

/** An experiment and the variants of its users. The bench assigns a variant by whether the user's number is even. */
export type Enrolled = { experimentId: number; variantIds: readonly [even: number, odd: number] }

export type Population = {
  experiments: readonly Enrolled[]
  /** `user_1` to `user_<users>`. */
  users: number
}

export const EVENTS_PER_BATCH = 1000
const UNTAGGED = 0.3
const NAMES_VARIANT = 0.5
const TYPES = ['page_view', 'click', 'add_to_cart', 'conversion']
const PAGES = ['/', '/pricing', '/cart', '/checkout']

const oneOf = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T

export type MadeEvent = {
  user_id: string
  experiment_id: number | null
  variant_id: number | null
  type: string
  properties: Record<string, string | number> | null
}

/** Makes a random event. 30 % of the events name no experiment; half of the others name the user's variant too. */
export function makeEvent({ experiments, users }: Population): MadeEvent {
  const number = 1 + Math.floor(Math.random() * users)
  const tag = Math.random() < UNTAGGED ? null : oneOf(experiments)
  const type = oneOf(TYPES)
  return {
    user_id: `user_${number}`,
    experiment_id: tag?.experimentId ?? null,
    variant_id: tag && Math.random() < NAMES_VARIANT ? (tag.variantIds[number % 2] as number) : null,
    type,
    properties:
      type === 'conversion'
        ? { value: Math.round(Math.random() * 10_000) / 100 }
        : type === 'page_view'
          ? { page: oneOf(PAGES) }
          : null,
  }
}

/** A request body that is sent many times. `renew` gives its events new ids. */
export type Body = { bytes: Buffer; renew: (serial: number) => void }

const SERIAL = '##########'

/** Builds a body. @param events one for a single post, several for a batch */
export function makeBody(events: readonly MadeEvent[], single: boolean): Body {
  const items = events.map((event, index) => {
    const given = Object.entries(event).filter(([, value]) => value !== null)
    return { ...Object.fromEntries(given), event_id: `${SERIAL}-${index}` }
  })
  const bytes = Buffer.from(JSON.stringify(single ? items[0] : { events: items }))
  const offsets: number[] = []
  for (let at = bytes.indexOf(SERIAL); at >= 0; at = bytes.indexOf(SERIAL, at + SERIAL.length)) offsets.push(at)
  return {
    bytes,
    renew: (serial) => {
      const digits = Buffer.from(String(serial).padStart(SERIAL.length, '0'))
      for (const offset of offsets) digits.copy(bytes, offset)
    },
  }
}

export const makeBodies = (population: Population, count: number, events: number, single: boolean): Body[] =>
  Array.from({ length: count }, () =>
    makeBody(
      Array.from({ length: events }, () => makeEvent(population)),
      single,
    ),
  )
