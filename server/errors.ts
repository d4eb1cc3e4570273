type DomainErrorCode = 'BAD_REQUEST' | 'UNAUTHORIZED' | 'NOT_FOUND' | 'CONFLICT' | 'SERVICE_UNAVAILABLE'

/** An error that the caller can correct. `trpc.ts` alone turns its code into a status. */
export class DomainError extends Error {
  readonly code: DomainErrorCode
  readonly path: readonly (string | number)[] | undefined

  constructor(code: DomainErrorCode, message: string, path?: readonly (string | number)[]) {
    super(message)
    this.name = 'DomainError'
    this.code = code
    this.path = path
  }
}

export const notFound = (what: string, id: number | string) =>
  new DomainError('NOT_FOUND', `${what} ${id} does not exist`)
/** Makes the error for a call without attributes about a user of whom nothing is stored. */
export const unknownUser = (userId: string) =>
  new DomainError(
    'NOT_FOUND',
    `User ${userId} is unknown: pass attributes (may be {}) with the call, or create the user first`,
  )
export const conflict = (message: string) => new DomainError('CONFLICT', message)
/** Makes the error for a change of an experiment in the archive. */
export const inArchive = (experimentId: number) =>
  conflict(
    `Experiment ${experimentId} is archived: unarchive it first (POST /api/experiments/${experimentId}/unarchive)`,
  )
/**
 * Makes the sentence about a variant of another experiment, or of none.
 * @param variants those of the experiment
 */
export const notItsVariant = (
  experimentId: number,
  variantId: number,
  variants: readonly { id: number; name: string }[],
) => `${variantId} is not a variant of experiment ${experimentId}, whose variants are ${namesOf(variants)}`
/** Lists variants as in `1 (control), 2 (treatment)`. */
export const namesOf = (variants: readonly { id: number; name: string }[]) =>
  variants.map(({ id, name }) => `${id} (${name})`).join(', ')
/** @param path the path of the invalid field, as in `issues` */
export const invalid = (message: string, ...path: (string | number)[]) => new DomainError('BAD_REQUEST', message, path)
export const unavailable = (message: string) => new DomainError('SERVICE_UNAVAILABLE', message)

/** Shortens API keys in a text to their prefix, so that no message repeats a secret. */
export const withoutSecrets = (text: string) => text.replace(/(exp_[\w-]{4})[\w-]{39,}/g, '$1…')
