import { invalid } from '../errors.ts'

/**
 * Checks that the caller meant a step that cannot be taken back: `confirm` must be the key of the experiment.
 * @param consequence says what the step destroys, as in `its runs are deleted for good`
 * @throws DomainError BAD_REQUEST that says the consequence and the key
 */
export function expectConfirmed(key: string, confirm: string | undefined, consequence: string) {
  if (confirm === key) return
  throw invalid(
    confirm === undefined
      ? `is missing: ${consequence}; confirm with the key ${key}`
      : `${confirm} is not the key of the experiment: confirm with the key ${key}`,
    'confirm',
  )
}
