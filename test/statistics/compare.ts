import type { Case } from './vectors.ts'

/** The outcome of one case: the mismatches, and the largest relative error among the figures that are not 0. */
export type Verdict = { mismatches: string[]; worstRelativeError: number }

const defaultAbsoluteTolerance = 1e-12

/** The keys of counts and ids, which must be equal. */
const countKeys = new Set(['n', 'id', 'users', 'conversions'])

/**
 * Matches the source of a published figure, such as "gbstats test figure". The tolerance of such a figure is its
 * rounding.
 */
const publishedFigure = /test figure/

/**
 * Compares an answer with a reference case. A number passes if its relative error is within the tolerance. A number
 * also passes if its absolute error is within the absolute tolerance, except under the keys in `relativeOnly`; this
 * exception does not apply to published figures. All other values must be equal. Keys that the case leaves out are
 * ignored. Keys that the answer lacks are mismatches.
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
    // In this form of the comparison, NaN fails.
    if (!(error <= reference.tolerance * Math.abs(figure) || error <= absoluteTolerance)) fail(actual, expected, path)
  }

  function fail(actual: unknown, expected: unknown, path: string): void {
    verdict.mismatches.push(`${path}: ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`)
  }

  visit(actual, reference.expected, '', '')
  return verdict
}
