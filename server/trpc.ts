import { getTRPCErrorFromUnknown, initTRPC, TRPCError } from '@trpc/server'
import { getHTTPStatusCodeFromError } from '@trpc/server/http'
import type { OpenApiMeta } from 'trpc-openapi'
import { ZodError } from 'zod'
import type { Caller } from './auth/key-ring.ts'
import type { Scope } from './auth/schema.ts'
import type { Context } from './context.ts'
import { brokenConstraint, databaseCode, isDatabaseUnavailable, isPassing } from './database/errors.ts'
import { DomainError } from './errors.ts'

/** What a procedure says of itself, beside trpc-openapi's `openapi`. */
export type Meta = OpenApiMeta<{
  /** Also served as GET with the body's fields as query parameters. */
  getTwin?: boolean
  /** A list in ascending order, by id or the field named: a full page carries a link to the next. */
  list?: true | 'key' | 'version'
  /** The largest body in bytes, where it is not the usual one. */
  bodyLimit?: number
  /** Who may call it: keys of that scope; or, for the management of keys, whom KEY_MANAGEMENT says. */
  access?: Scope | 'key management'
}>

type Issue = { path: (string | number)[]; message: string }
/** The one shape of errors. */
export type Fault = { message: string; code: string; issues?: Issue[] }

const constraintMessages: [RegExp, string][] = [
  [/^users_email/, 'That e-mail address is taken'],
  [/^users_pkey/, 'That user id is taken'],
  [/_key_unique$|^(evaluation_keys|flags)_pkey/, 'That key is taken'],
  [/_name_unique$/, 'That name is taken'],
]

/** Turns what services and the database throw into a status; all else is a 500 that says nothing of the inside. */
export function translate(thrown: unknown): TRPCError {
  const error = getTRPCErrorFromUnknown(thrown)
  const { cause } = error
  if (cause instanceof DomainError) return new TRPCError({ code: cause.code, message: cause.message, cause })
  if (error.code !== 'INTERNAL_SERVER_ERROR') return error
  if (isDatabaseUnavailable(cause))
    return new TRPCError({ code: 'SERVICE_UNAVAILABLE', message: 'The database is unavailable; try again soon', cause })
  if (isPassing(cause))
    return new TRPCError({ code: 'SERVICE_UNAVAILABLE', message: 'Too much at once; try again soon', cause })
  if (databaseCode(cause) === '23503')
    return new TRPCError({ code: 'CONFLICT', message: 'Something that this refers to was deleted or is in use', cause })
  if (databaseCode(cause) === '23505') {
    const constraint = brokenConstraint(cause) ?? ''
    const message = constraintMessages.find(([pattern]) => pattern.test(constraint))?.[1] ?? 'That is taken already'
    return new TRPCError({ code: 'CONFLICT', message, cause })
  }
  return error
}

/** Status and body of an error, the same for every way in. */
export function faultOf(error: TRPCError): { status: number; fault: Fault } {
  const status = getHTTPStatusCodeFromError(error)
  const fault: Fault = { message: error.message, code: error.code }
  if (error.code === 'BAD_REQUEST' && error.cause instanceof ZodError) {
    fault.issues = error.cause.issues.map(({ path, message }) => ({ path: path.map(pathStep), message }))
    fault.message = `Invalid input: ${fault.issues.map(sentence).join('; ')}`.slice(0, 1000)
  } else if (error.cause instanceof DomainError && error.cause.path?.length) {
    const issue = { path: [...error.cause.path], message: error.message }
    fault.issues = [issue]
    fault.message = `Invalid input: ${sentence(issue)}`
  } else if (status >= 500 && error.code !== 'SERVICE_UNAVAILABLE') fault.message = 'Internal server error'
  return { status, fault }
}

const pathStep = (step: PropertyKey) => (typeof step === 'symbol' ? String(step) : step)
const sentence = ({ path, message }: Issue) => (path.length > 0 ? `${path.join('.')}: ${message}` : message)

const PING_MS = 10_000

const t = initTRPC
  .context<Context>()
  .meta<Meta>()
  .create({
    // Proxies cut what is silent, and clients notice a dead connection.
    sse: { ping: { enabled: true, intervalMs: PING_MS }, client: { reconnectAfterInactivityMs: 3 * PING_MS } },
    errorFormatter: ({ shape, error }) => {
      const { fault } = faultOf(error)
      const { stack: _stack, ...data } = shape.data
      return { ...shape, message: fault.message, data: { ...data, issues: fault.issues ?? null } }
    },
  })

export const router = t.router

/** What a subscription gives, its errors translated as those of other procedures are. */
export async function* translated<T>(items: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* items
  } catch (error) {
    throw translate(error)
  }
}

/**
 * Sets the caller of a context, or refuses. A key that is known already is checked without a promise.
 * @throws TRPCError UNAUTHORIZED without a good key, FORBIDDEN where it lacks the scope
 */
export function authorize(ctx: Context, access: Meta['access']): void | Promise<void> {
  if (!access)
    throw new TRPCError({ code: 'INTERNAL_SERVER_ERROR', message: 'A procedure does not say who may call it' })
  if (access === 'key management') {
    if (ctx.platform.config.keyManagement === 'open') return
    return authorize(ctx, 'admin')
  }
  if (!ctx.token)
    throw new TRPCError({ code: 'UNAUTHORIZED', message: 'An API key is needed: Authorization: Bearer <key>' })
  const caller = ctx.platform.keyRing.check(ctx.token)
  return caller instanceof Promise ? caller.then((found) => admit(ctx, found, access)) : admit(ctx, caller, access)
}

export const admits = (caller: Caller, scope: Scope) => caller.scopes.has(scope)

function admit(ctx: Context, caller: Caller | null, scope: Scope) {
  if (!caller) throw new TRPCError({ code: 'UNAUTHORIZED', message: 'That API key is unknown, inactive or expired' })
  if (!admits(caller, scope))
    throw new TRPCError({ code: 'FORBIDDEN', message: `That API key lacks the scope ${scope}` })
  ctx.caller = caller
}

/** Decisions and events go before everything else. */
export const canWait = (access: Meta['access']) => access === 'read' || access === 'manage'

/** Every procedure: who may call it is checked before the input is, and errors are translated. */
const guardedProcedure = t.procedure.use(async ({ ctx, meta, next }) => {
  await authorize(ctx, meta?.access)
  const result = canWait(meta?.access) ? await ctx.platform.concurrencyLimit.run(next) : await next()
  if (!result.ok) throw translate(result.error)
  return result
})

/** For callers with an API key of that scope. */
export const keyedProcedure = (scope: Scope) => guardedProcedure.meta({ access: scope })

/** For the management of keys: open to anybody, or to administrators, as KEY_MANAGEMENT says. */
export const keyManagementProcedure = guardedProcedure.meta({ access: 'key management' })
