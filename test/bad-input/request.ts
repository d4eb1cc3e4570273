import type { Route } from './routes.ts'

/** A request as it is sent, what is wrong with it, and the answer that it deserves. */
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
  /** Where `issues` must point; a path below it will do. */
  issue?: readonly (string | number)[]
  /** Of a batch: 200, with this one event rejected. */
  rejected?: true
}

export type Input = Record<string, unknown>

/** JSON text that is no value of JavaScript: NaN, 1e400, a hundred thousand brackets. */
export class Json {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

/** Like JSON.stringify, with `Json` as it stands. */
export function encode(value: unknown): string {
  if (value instanceof Json) return value.text
  if (Array.isArray(value)) return `[${value.map(encode).join(',')}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? 'null'
  const members = Object.entries(value).filter(([, member]) => member !== undefined)
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${encode(member)}`).join(',')}}`
}

/** Text of a URL that is already percent-encoded, rightly or not. */
export class Encoded extends Json {}

function inUrl(value: unknown): string {
  if (value instanceof Encoded) return value.text
  const isObject = typeof value === 'object' && value !== null && !(value instanceof Json)
  return encodeURIComponent(isObject ? JSON.stringify(value) : String(value))
}

/** The path of a route with the input's fields in it, and the rest of the input as query where it belongs there. */
export function urlOf(route: Route, input: Input): string {
  const path = route.template.replace(/\{(\w+)\}/g, (_, field) => inUrl(input[field]))
  if (route.source === 'body') return path
  const query = Object.entries(input)
    .filter(([field, value]) => !route.pathFields.includes(field) && value !== undefined)
    .flatMap(([field, value]) => (Array.isArray(value) ? value : [value]).map((item) => `${field}=${inUrl(item)}`))
  return query.length > 0 ? `${path}?${query.join('&')}` : path
}

/** The request that this input makes on a route. */
export function requestOf(route: Route, token: string, input: Input): Omit<BadRequest, 'kind' | 'answer'> {
  const headers: Record<string, string> = { authorization: `Bearer ${token}` }
  const { method, name } = route
  const path = urlOf(route, input)
  if (route.source === 'query') return { route: name, method, path, headers }
  const body = Object.fromEntries(Object.entries(input).filter(([field]) => !route.pathFields.includes(field)))
  headers['content-type'] = 'application/json'
  return { route: name, method, path, headers, body: encode(body) }
}

/** Numbers that look random and are the same in every run (mulberry32). */
export type Random = ReturnType<typeof createRandom>
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
