import { getTRPCErrorFromUnknown, initTRPC, TRPCError } from '@trpc/server'
import { getHTTPStatusCodeFromError } from '@trpc/server/http'
import type { OpenApiMeta } from 'trpc-openapi'
import { ZodError } from 'zod'
import type { Caller } from './auth/key-ring.ts'
import type { Scope } from './auth/schema.ts'
import type { Context } from './context.ts'
import { brokenConstraint, databaseCode, isDatabaseUnavailable, isTransient } from './database/errors.ts'
import { DomainError } from './errors.ts'
import { type Issue, issuesOf, sentencesOf } from './sentences.ts'

/** The metadata of a procedure, beside trpc-openapi's `openapi`. */
export type Meta = OpenApiMeta<{
  /** If true, the procedure is also served as GET, with the fields of the body as query parameters. */
  getTwin?: boolean
  /**
   * The texts that a GET, or the GET twin, answers instead of JSON if the query has a `format`: by its value, the content type and
   * the function that writes the text of an answer.
   */
  formats?: Record<string, { contentType: string; write: (answer: never) => string }>
  /** The answer is a list in ascending order, by id or by the named field; a full page carries a link to the next. */
  list?: true | 'key' | 'version'
  /** The largest body in bytes; default: 1 MiB. */
  bodyLimit?: number
  /** The scope that a caller's key needs. For the management of keys, KEY_MANAGEMENT says who may call. */
  access?: Scope | 'key management'
}>

/** The JSON body of every error. */
export type Fault = { message: string; code: string; issues?: Issue[] }

const constraintMessages: [RegExp, string][] = [
  [/^users_email/, 'The email is taken by another user: send another one'],
  [/^users_pkey/, 'The user id is taken: send another id, or update the existing user'],
  [/_key_unique$|^(evaluation_keys|flags)_pkey/, 'The key is taken: choose another one'],
  [/_name_unique$/, 'The name is taken: choose another one'],
]

/**
 * Translates errors of services and of the database into tRPC errors with a code. Any other error becomes an
 * INTERNAL_SERVER_ERROR, whose answer reveals nothing about the cause.
 */
export function translate(thrown: unknown): TRPCError {
  const error = getTRPCErrorFromUnknown(thrown)
  const { cause } = error
  if (cause instanceof DomainError) return new TRPCError({ code: cause.code, message: cause.message, cause })
  if (error.code !== 'INTERNAL_SERVER_ERROR') return error
  if (isDatabaseUnavailable(cause))
    return new TRPCError({ code: 'SERVICE_UNAVAILABLE', message: 'The database is unavailable; try again soon', cause })
  if (isTransient(cause))
    return new TRPCError({
      code: 'SERVICE_UNAVAILABLE',
      message: 'Concurrent changes blocked this request; try again soon',
      cause,
    })
  if (databaseCode(cause) === '23503')
    return new TRPCError({
      code: 'CONFLICT',
      message: 'The request refers to an object that was deleted, or deletes one that is in use: read it again',
      cause,
    })
  if (databaseCode(cause) === '23505') {
    const constraint = brokenConstraint(cause) ?? ''
    const message =
      constraintMessages.find(([pattern]) => pattern.test(constraint))?.[1] ??
      'The object exists already: choose another identifier'
    return new TRPCError({ code: 'CONFLICT', message, cause })
  }
  return error
}

/** Returns the HTTP status and the body of an error. REST, tRPC and OFREP all use it. */
export function faultOf(error: TRPCError): { status: number; fault: Fault } {
  const status = getHTTPStatusCodeFromError(error)
  const fault: Fault = { message: error.message, code: error.code }
  if (error.code === 'BAD_REQUEST' && error.cause instanceof ZodError) {
    fault.issues = issuesOf(error.cause)
    fault.message = `Invalid input: ${sentencesOf(fault.issues)}`.slice(0, 1000)
  } else if (error.cause instanceof DomainError && error.cause.path?.length) {
    fault.issues = [{ path: [...error.cause.path], message: error.message }]
    fault.message = `Invalid input: ${sentencesOf(fault.issues)}`
  } else if (status >= 500 && error.code !== 'SERVICE_UNAVAILABLE') fault.message = 'Internal server error'
  return { status, fault }
}

const PING_MS = 10_000

const t = initTRPC
  .context<Context>()
  .meta<Meta>()
  .create({
    // Pings keep proxies from closing a silent stream, and let clients notice a dead connection.
    sse: { ping: { enabled: true, intervalMs: PING_MS }, client: { reconnectAfterInactivityMs: 3 * PING_MS } },
    errorFormatter: ({ shape, error }) => {
      const { fault } = faultOf(error)
      const { stack: _stack, ...data } = shape.data
      return { ...shape, message: fault.message, data: { ...data, issues: fault.issues ?? null } }
    },
  })

export const router = t.router

/** Yields the items of a subscription, and translates its errors like those of other procedures. */
export async function* translated<T>(items: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* items
  } catch (error) {
    throw translate(error)
  }
}

/**
 * Checks the token of a context and sets `caller`. Returns without a promise when this process remembers the key.
 * @throws TRPCError UNAUTHORIZED when the key is missing, unknown, inactive or expired; FORBIDDEN when it lacks the
 *   scope
 */
export function authorize(ctx: Context, access: Meta['access']): void | Promise<void> {
  if (!access)
    throw new TRPCError({ code: 'INTERNAL_SERVER_ERROR', message: 'The procedure declares no access in its meta' })
  if (access === 'key management') {
    if (ctx.platform.config.keyManagement === 'open') return
    return authorize(ctx, 'admin')
  }
  if (!ctx.token)
    throw new TRPCError({
      code: 'UNAUTHORIZED',
      message: takesAdminToken(ctx, access)
        ? 'The ADMIN_TOKEN or a key with the scope admin is missing: send the header Authorization: Bearer <token>'
        : 'The API key is missing: send the header Authorization: Bearer <key>',
    })
  const caller = ctx.platform.keyRing.check(ctx.token)
  return caller instanceof Promise ? caller.then((found) => admit(ctx, found, access)) : admit(ctx, caller, access)
}

export const admits = (caller: Caller, scope: Scope) => caller.scopes.has(scope)

/** True if the ADMIN_TOKEN of this platform would be admitted. */
const takesAdminToken = (ctx: Context, scope: Scope) =>
  scope === 'admin' && ctx.platform.config.adminToken !== undefined

/** So many characters of a refused key are logged, as many as lists of keys show. */
const SHOWN_CHARACTERS = 8

function admit(ctx: Context, caller: Caller | null, scope: Scope) {
  if (!caller) {
    // Anything else may be a mistyped ADMIN_TOKEN, of which nothing is logged.
    const key = ctx.token?.startsWith('exp_') ? `${ctx.token.slice(0, SHOWN_CHARACTERS)}…` : 'no key of this platform'
    ctx.platform.log.info({ key, scope }, 'An API key was refused')
    throw new TRPCError({
      code: 'UNAUTHORIZED',
      message: takesAdminToken(ctx, scope)
        ? 'The token is neither the ADMIN_TOKEN nor an active API key: send the ADMIN_TOKEN or another key'
        : 'The API key is unknown, inactive or expired: send another',
    })
  }
  if (!admits(caller, scope)) throw new TRPCError({ code: 'FORBIDDEN', message: lacking(ctx, caller, scope) })
  ctx.caller = caller
}

function lacking(ctx: Context, caller: Caller, scope: Scope): string {
  if (caller.id === null) return `The ADMIN_TOKEN has the scope admin only: create an API key with the scope ${scope}`
  const wanted = takesAdminToken(ctx, scope) ? 'send the ADMIN_TOKEN, or' : 'use'
  return `The API key lacks the scope ${scope}: ${wanted} a key with this scope`
}

/** True for procedures that may wait for the database: decisions and events have priority over them. */
export const canWait = (access: Meta['access']) => access === 'read' || access === 'manage'

/** The base of every procedure. It checks the caller, replaces keys in the input by ids, and translates errors. */
const guardedProcedure = t.procedure.use(async ({ ctx, meta, path, getRawInput, next }) => {
  await authorize(ctx, meta?.access)
  const work = async () => {
    // A call without an input is told which fields it lacks, as a request without a body is.
    const input = await ctx.platform.resolveNames(path, (await getRawInput()) ?? {})
    return next({ getRawInput: async () => input })
  }
  const result = await (canWait(meta?.access) ? ctx.platform.concurrencyLimit.run(work) : work()).catch(
    (error: unknown) => {
      throw translate(error)
    },
  )
  if (!result.ok) throw translate(result.error)
  return result
})

/** A procedure for callers whose API key has the scope. */
export const keyedProcedure = (scope: Scope) => guardedProcedure.meta({ access: scope })

/** A procedure for the management of keys. KEY_MANAGEMENT opens it to anybody or to administrators only. */
export const keyManagementProcedure = guardedProcedure.meta({ access: 'key management' })
