import type { Route } from './routes.ts'

/** A bad request, the kind of its fault, and the expected answer. */
export type BadRequest = {
  kind: string
  route: string
  method: string
  path: string
  headers: Record<string, string>
  body?: string | Buffer
  answer: Expected
}

export type Expected = {
  status: number | readonly number[]
  /** The path that `issues` must name; a path below it is accepted too. */
  issue?: readonly (string | number)[]
  /** True for a batch that is answered 200 and whose only event is rejected. */
  rejected?: true
}

export type Input = Record<string, unknown>

/** A text for a body that no JavaScript value gives: NaN, 1e400, a hundred thousand brackets. */
export class Json {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

/** Works like JSON.stringify, but copies the text of a `Json`. */
export function encode(value: unknown): string {
  if (value instanceof Json) return value.text
  if (Array.isArray(value)) return `[${value.map(encode).join(',')}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? 'null'
  const members = Object.entries(value).filter(([, member]) => member !== undefined)
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${encode(member)}`).join(',')}}`
}

/** A text for a URL that is already percent-encoded, correctly or not. */
export class Encoded extends Json {}

function inUrl(value: unknown): string {
  if (value instanceof Encoded) return value.text
  const isObject = typeof value === 'object' && value !== null && !(value instanceof Json)
  return encodeURIComponent(isObject ? JSON.stringify(value) : String(value))
}

/** Writes the URL of a route with the input's fields in the path, and for a GET the other fields in the query. */
export function urlOf(route: Route, input: Input): string {
  const path = route.template.replace(/\{(\w+)\}/g, (_, field) => inUrl(input[field]))
  if (route.source === 'body') return path
  const query = Object.entries(input)
    .filter(([field, value]) => !route.pathFields.includes(field) && value !== undefined)
    .flatMap(([field, value]) => (Array.isArray(value) ? value : [value]).map((item) => `${field}=${inUrl(item)}`))
  return query.length > 0 ? `${path}?${query.join('&')}` : path
}

/** Makes the request that sends this input to a route. */
export function requestOf(route: Route, token: string, input: Input): Omit<BadRequest, 'kind' | 'answer'> {
  const headers: Record<string, string> = { authorization: `Bearer ${token}` }
  const { method, name } = route
  const path = urlOf(route, input)
  if (route.source === 'query') return { route: name, method, path, headers }
  const body = Object.fromEntries(Object.entries(input).filter(([field]) => !route.pathFields.includes(field)))
  headers['content-type'] = 'application/json'
  return { route: name, method, path, headers, body: encode(body) }
}

export type Random = ReturnType<typeof createRandom>

/** Makes a generator of pseudo-random values (mulberry32). The same seed gives the same values. */
export function createRandom(seed: number) {
  let state = seed >>> 0
  function next() {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const int = (min: number, max: number) => min + Math.floor(next() * (max - min + 1))
  return {
    int,
    chance: (share: number) => next() < share,
    pick: <T>(items: readonly T[]): T => items[int(0, items.length - 1)] as T,
    word: () => `w${int(0, 2 ** 31).toString(36)}${int(0, 2 ** 31).toString(36)}`,
  }
}
