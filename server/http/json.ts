import { isUtf8 } from 'node:buffer'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { parse, scan } from 'secure-json-parse'
import { UnreadableItem } from '../wire.ts'

const refused = (message: string, statusCode = 400) => Object.assign(new Error(message), { statusCode })
/** @param what the name of the text */
const invalidJson = (error: unknown, what = 'The body') => {
  const { message } = error as Error
  return refused(message === FORBIDDEN ? `${what} ${FORBIDDEN_KEY}` : `${what} is not valid JSON: ${message}`)
}
/** The parser's words about a key that could change a prototype. */
const FORBIDDEN = 'Object contains forbidden prototype property'
const FORBIDDEN_KEY = 'has a key __proto__ or constructor.prototype, which is not allowed: use another name'

/** Numbers of so many digits may reach 1e21, from where on a number does not show that it was written with digits. */
const MANY_DIGITS = 21
const isDigit = (code: number) => code >= 48 && code <= 57
/**
 * Tells whether a text holds 21 digits in a row. One of any 21 characters in a row is looked at, whose index leaves the
 * remainder 20: a regular expression would take a quarter of the time that the parser takes.
 */
function hasManyDigits(text: string): boolean {
  for (let index = MANY_DIGITS - 1; index < text.length; index += MANY_DIGITS) {
    let first = index
    let end = index
    while (end - first < MANY_DIGITS && isDigit(text.charCodeAt(end))) end++
    if (end === index) continue
    while (end - first < MANY_DIGITS && isDigit(text.charCodeAt(first - 1))) first--
    if (end - first >= MANY_DIGITS) return true
  }
  return false
}

const WHOLE_NUMBER = /^-?\d+$/
type Source = { source?: string }
const withoutRounded = ((_key: string, value: unknown, { source = '' }: Source = {}) =>
  typeof value === 'number' && !Number.isSafeInteger(value) && WHOLE_NUMBER.test(source)
    ? Number.NaN
    : value) as Parameters<typeof JSON.parse>[1]

/**
 * Parses JSON strictly: invalid UTF-8 and `__proto__` keys are refused. A whole number of 21 digits or more becomes NaN,
 * which no schema accepts.
 * @throws Error with status 400 whose message names the fault
 */
export const parseJson = (bytes: Buffer): unknown => parseText(textOf(bytes))

/** Parses the input of a query of tRPC, as `parseJson` does a body. */
export const parseInput = (text: string): unknown => parseText(text, 'The query parameter input')

function parseText(text: string, what?: string): unknown {
  try {
    return hasManyDigits(text) ? parse(text, withoutRounded) : parse(text)
  } catch (error) {
    throw invalidJson(error, what)
  }
}

/**
 * Parses a body with a list of `events`, as `parseJson` does, but puts an `UnreadableItem` in place of each event with a
 * forbidden key.
 * @throws Error with status 400 if anything else is wrong with the body
 */
export function parseBatch(bytes: Buffer): unknown {
  try {
    return parseJson(bytes)
  } catch (fault) {
    const body = parsedAnyhow(textOf(bytes))
    if (!isObject(body) || !Array.isArray(body.events)) throw fault
    const { events, ...rest } = body
    if (forbidden(rest) || Object.hasOwn(body, '__proto__')) throw fault
    return { ...rest, events: events.map((event) => (forbidden(event) ? unreadable : event)) }
  }
}

/** Writes what `parseBatch` returned as JSON again, in which numbers that are not finite stay so. */
export const writeBatch = (body: unknown) =>
  JSON.stringify(body, (_key, value) =>
    typeof value === 'number' && !Number.isFinite(value) ? (JSON as unknown as RawJson).rawJSON('1e999') : value,
  )
/** TypeScript's library does not know this function of Node yet. */
type RawJson = { rawJSON: (text: string) => unknown }

const unreadable = new UnreadableItem(`The event ${FORBIDDEN_KEY}`)

function textOf(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw refused('The body is not valid UTF-8')
  return bytes.toString('utf8')
}

/** Parses JSON with forbidden keys, which become properties like any others. */
function parsedAnyhow(text: string): unknown {
  try {
    return JSON.parse(text, withoutRounded)
  } catch (error) {
    throw invalidJson(error)
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** True if a value holds a key that could change a prototype, at any depth. */
function forbidden(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  try {
    scan(value as Record<string, unknown>)
    return false
  } catch {
    return true
  }
}

/**
 * Makes JSON the only content type of a Fastify scope. An empty body counts as a missing one.
 * @param read converts the bytes of a body to the value that the handler receives
 */
export function readJson(app: FastifyInstance, read: (bytes: Buffer, request: FastifyRequest) => unknown) {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    try {
      done(null, body.length === 0 ? undefined : read(body as Buffer, request))
    } catch (error) {
      done(error as Error)
    }
  })
  refuseOtherTypes(app, 'application/json')
}

/** Makes a Fastify scope name the accepted content type to a request of another one. */
export function refuseOtherTypes(app: FastifyInstance, accepted: string) {
  app.addContentTypeParser('*', ({ headers }, _body, done) => {
    const given = headers['content-type']
    const fault = given === undefined ? 'The content type is missing' : `The content type ${given} is not accepted`
    done(refused(`${fault}: send ${accepted}`, 415))
  })
}
