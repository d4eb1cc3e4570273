import { TRPCClientError, type TRPCLink } from '@trpc/client'
import { observable } from '@trpc/server/observable'
import type { AppRouter } from '../server/router.ts'

/** Fails a call whose input has NaN or Infinity, which JSON would turn into null, so that it would be stored as no value. */
export const finiteLink: TRPCLink<AppRouter> =
  () =>
  ({ op, next }) => {
    const found = findNonFinite(op.input, [])
    if (!found) return next(op)
    const message = `${found.path.join('.')}: ${found.value} cannot be sent: send a finite number, or leave it out`
    return observable((observer) => observer.error(TRPCClientError.from(new Error(message))))
  }

type Found = { path: readonly string[]; value: number }

/** The deepest level that is searched. The platform refuses deeper inputs, and a cycle has no end. */
const MOST_LEVELS = 50

function findNonFinite(value: unknown, path: readonly string[]): Found | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : { path, value }
  if (typeof value !== 'object' || value === null || 'toJSON' in value || path.length > MOST_LEVELS) return undefined
  for (const [key, item] of Object.entries(value)) {
    const found = findNonFinite(item, [...path, key])
    if (found) return found
  }
  return undefined
}
