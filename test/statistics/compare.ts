import type { Case } from './vectors.ts'

/** What became of one case: what is wrong, and the largest relative error among the figures that are not 0. */
export type Verdict = { mismatches: string[]; worstRelativeError: number }

const defaultAbsoluteTolerance = 1e-12

/** Keys whose figures are counts or identities, and must be equal. */
const countKeys = new Set(['n', 'id', 'users', 'conversions'])

/** The source of a published figure, such as "gbstats test figure": its tolerance is the rounding it was printed with. */
const publishedFigure = /test figure/

/**
 * Holds an answer against a case. A number passes when its relative error is within the tolerance or, where its key
 * is not relative only, its absolute error is; a published figure passes by either, whatever its key. All else must be
 * equal. Keys that the case leaves out are not compared, keys that the answer lacks are wrong.
 */
export function compare(actual: unknown, reference: Case, relativeOnly: readonly string[]): Verdict {
  const verdict: Verdict = { mismatches: [], worstRelativeError: 0 }

  function visit(actual: unknown, expected: unknown, path: string, key: string): void {
    if (typeof expected === 'object' && expected !== null) {
      if (
        typeof actual !== 'object' ||
        actual === null ||
        Reflect.get(actual, 'length') !== Reflect.get(expected, 'length')
      ) {
        fail(actual, expected, path)
        return
      }
      for (const [child, value] of Object.entries(expected)) {
        const childKey = Array.isArray(expected) ? key : child
        visit(Reflect.get(actual, child), value, path === '' ? child : `${path}.${child}`, childKey)
      }
      return
    }
    const figure = expected === 'Infinity' ? Infinity : expected === '-Infinity' ? -Infinity : expected
    if (typeof figure !== 'number' || !Number.isFinite(figure) || typeof actual !== 'number' || countKeys.has(key)) {
      if (actual !== figure) fail(actual, expected, path)
      return
    }
    const error = Math.abs(actual - figure)
    if (figure !== 0) verdict.worstRelativeError = Math.max(verdict.worstRelativeError, error / Math.abs(figure))
    const isRelativeOnly = relativeOnly.includes(key) && !publishedFigure.test(reference.source)
    const absoluteTolerance = isRelativeOnly ? 0 : (reference.abs_tolerance ?? defaultAbsoluteTolerance)
    // Written so that NaN fails.
    if (!(error <= reference.tolerance * Math.abs(figure) || error <= absoluteTolerance)) fail(actual, expected, path)
  }

  function fail(actual: unknown, expected: unknown, path: string): void {
    verdict.mismatches.push(`${path}: ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`)
  }

  visit(actual, reference.expected, '', '')
  return verdict
}
