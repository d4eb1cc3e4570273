import { TRPCClientError, type TRPCLink } from '@trpc/client'
import { observable } from '@trpc/server/observable'
import { type TRPC_ERROR_CODE_KEY, TRPC_ERROR_CODES_BY_KEY } from '@trpc/server/rpc'
import type { AppRouter } from '../server/router.ts'

/**
 * Makes a call fail as soon as its signal is aborted. A request that several calls share goes on for the other calls,
 * and is aborted with the last of them. The link also gives errors from outside any procedure, such as a body that is
 * too large, the shape of the other errors.
 */
export const outcomeLink: TRPCLink<AppRouter> =
  () =>
  ({ op: { signal, ...op }, next }) =>
    observable((observer) => {
      if (signal?.aborted) return observer.error(aborted(signal))
      const request = next({ ...op, signal }).subscribe({
        next: (value) => observer.next(value),
        error: (error) => observer.error(withData(error)),
        complete: () => observer.complete(),
      })
      const abort = () => {
        request.unsubscribe()
        observer.error(aborted(signal))
      }
      signal?.addEventListener('abort', abort, { once: true })
      return () => {
        signal?.removeEventListener('abort', abort)
        request.unsubscribe()
      }
    })

function aborted(signal: AbortSignal | null | undefined): TRPCClientError<AppRouter> {
  const reason = signal?.reason
  return TRPCClientError.from(reason instanceof Error ? reason : new Error('The call was aborted', { cause: reason }))
}

function withData(error: TRPCClientError<AppRouter>): TRPCClientError<AppRouter> {
  const { response, responseJSON: fault } = (error.meta ?? {}) as {
    response?: { status: number }
    responseJSON?: unknown
  }
  if (error.data || !response || !isFault(fault)) return error
  const data = { code: fault.code, httpStatus: response.status, issues: fault.issues ?? null }
  const shape = { message: fault.message, code: TRPC_ERROR_CODES_BY_KEY[fault.code], data }
  return new TRPCClientError(fault.message, { result: { error: shape }, meta: error.meta })
}

type Fault = { message: string; code: TRPC_ERROR_CODE_KEY; issues?: { path: (string | number)[]; message: string }[] }

function isFault(body: unknown): body is Fault {
  if (typeof body !== 'object' || body === null) return false
  const { message, code } = body as Partial<Fault>
  return typeof message === 'string' && typeof code === 'string' && Object.hasOwn(TRPC_ERROR_CODES_BY_KEY, code)
}
