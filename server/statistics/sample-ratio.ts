import { sum } from 'simple-statistics'
import { chiSquareSf, devianceTerm, stirlingError } from './distributions.ts'
import { runningMinimum } from './sequential.ts'

/** A p-value below this threshold is a sample ratio mismatch. */
export const MISMATCH_THRESHOLD = 0.001
/** Below this expected number of users, the chi-square distribution is a poor approximation of the statistic. */
export const LEAST_EXPECTED = 5
/** Concentration of the sequential test's Dirichlet prior, whose mean is the allocation. */
const CONCENTRATION = 10_000
/** The concentrations that are averaged: a small one finds gross faults after few users, a large one slight faults. */
const CONCENTRATIONS = [100, 1000, 10_000, 100_000]

/** The users of each variant in an allocation period, and the shares on any scale. */
export type AllocatedCounts = { counts: readonly number[]; allocation: readonly number[] }

export type SampleRatio = {
  status: 'ok' | 'no_data' | 'unexpected_variant' | 'single_variant'
  /** Expected users of each variant that has a share; null if nothing was tested. */
  expected: number[] | null
  chiSquare: number | null
  degreesOfFreedom: number
  pValue: number
  isMismatch: boolean
}

/** `isApproximable`: every expected number is at least 5, so that the p-value of the chi-square can be relied on. */
export type SampleRatioOverPeriods = Omit<SampleRatio, 'expected'> & { isApproximable: boolean }

/**
 * Tests for a sample ratio mismatch (SRM): Pearson's chi-square test of the users of each variant against the
 * allocation. This test is for a planned end. While data arrive, use `sequentialSampleRatio`.
 * @param counts users whom the platform randomised, by first assignment, before any exclusion
 * @param allocation shares on any scale, not negative, at least one above 0
 * @param threshold share of 1; a p-value below the threshold is a mismatch
 * @returns `unexpected_variant` with p = 0 if a variant without a share has users; p = 1 if there are no users
 *   (`no_data`) or only one variant has a share (`single_variant`)
 * @throws RangeError for impossible counts or allocations
 * @see Kohavi, Tang, Xu (2020), Trustworthy Online Controlled Experiments, chapter 21; docs/inference.md, "Sample ratio
 *   mismatch"
 */
export function sampleRatio(
  counts: readonly number[],
  allocation: readonly number[],
  threshold = MISMATCH_THRESHOLD,
): SampleRatio {
  checkCounts(counts, allocation)
  const allocated = counts.flatMap((count, index) => {
    const share = allocation[index] as number
    return share > 0 ? [{ count, share }] : []
  })
  const degreesOfFreedom = allocated.length - 1
  const untested = { expected: null, chiSquare: null, degreesOfFreedom, pValue: 1, isMismatch: false }
  if (counts.some((count, index) => count > 0 && allocation[index] === 0))
    return { ...untested, status: 'unexpected_variant', pValue: 0, isMismatch: true }
  const total = sum([...counts])
  if (total === 0) return { ...untested, status: 'no_data' }
  if (allocated.length === 1) return { ...untested, status: 'single_variant' }
  const shares = sum([...allocation])
  const expected = allocated.map(({ share }) => (share / shares) * total)
  const chiSquare = sum(
    allocated.map(({ count }, index) => {
      const expectedCount = expected[index] as number
      return ((count - expectedCount) / expectedCount) * (count - expectedCount)
    }),
  )
  const pValue = chiSquareSf(chiSquare, degreesOfFreedom)
  return { status: 'ok', expected, chiSquare, degreesOfFreedom, pValue, isMismatch: pValue < threshold }
}

/**
 * Tests for a sample ratio mismatch over periods of different allocations. Chi-squares and degrees of freedom are
 * added. A user belongs to the period of the first assignment.
 * @param threshold share of 1; a p-value below the threshold is a mismatch
 * @returns as `sampleRatio` does, if one period has an unexpected variant or no period can be tested
 * @throws RangeError for impossible counts or allocations
 * @see docs/inference.md, "Sample ratio mismatch"
 */
export function sampleRatioOverPeriods(
  periods: readonly AllocatedCounts[],
  threshold = MISMATCH_THRESHOLD,
): SampleRatioOverPeriods {
  const parts = periods.map(({ counts, allocation }) => sampleRatio(counts, allocation, threshold))
  const unexpected = parts.find(({ status }) => status === 'unexpected_variant')
  const tested = parts.filter(({ status }) => status === 'ok')
  const degreesOfFreedom = sum(tested.map((part) => part.degreesOfFreedom))
  const isApproximable = tested.every(({ expected }) => Math.min(...(expected ?? [])) >= LEAST_EXPECTED)
  if (unexpected) return { ...withoutExpected(unexpected), degreesOfFreedom, isApproximable }
  if (tested.length === 0) {
    const status = parts.some(({ status }) => status === 'single_variant') ? 'single_variant' : 'no_data'
    return { status, chiSquare: null, degreesOfFreedom, pValue: 1, isMismatch: false, isApproximable }
  }
  const chiSquare = sum(tested.map((part) => part.chiSquare ?? 0))
  const pValue = chiSquareSf(chiSquare, degreesOfFreedom)
  return { status: 'ok', chiSquare, degreesOfFreedom, pValue, isMismatch: pValue < threshold, isApproximable }
}

const withoutExpected = ({ expected: _, ...ratio }: SampleRatio) => ratio

/**
 * Tests for a sample ratio mismatch at any number of looks. The statistic is a multinomial Bayes factor with a
 * Dirichlet prior whose mean is the allocation:
 * `ln G(C) - ln G(C+n) + Σ ln G(C w_i + n_i) - ln G(C w_i) - n_i ln w_i`.
 * G is the gamma function, C the concentration, w_i the shares and n_i the users. The code cancels the large terms
 * algebraically, because differences of log gammas lose the significant digits from some millions of users on.
 * @param looks cumulative counts, in the order of time
 * @param allocation shares on any scale, all above 0
 * @param concentration of the prior, above 0
 * @returns per look: the log Bayes factor for a mismatch, and the running minimum of the p-value
 * @throws RangeError for impossible counts or an allocation that is not above 0
 * @see Lindon, Malek (2022), NeurIPS; docs/inference.md, "Sample ratio mismatch"
 */
export function sequentialSampleRatio(
  looks: readonly (readonly number[])[],
  allocation: readonly number[],
  concentration = CONCENTRATION,
): { logBayesFactors: number[]; runningPValues: number[] } {
  const totalShare = sum([...allocation])
  const shares = allocation.map((share) => share / totalShare)
  if (!shares.every((share) => share > 0)) throw new RangeError('The sequential test takes allocations above 0 only')
  const logBayesFactors = looks.map((counts) => {
    checkCounts(counts, allocation)
    return logBayesFactor(counts, shares, concentration)
  })
  return {
    logBayesFactors,
    runningPValues: runningMinimum(logBayesFactors.map((logBayesFactor) => Math.min(1, Math.exp(-logBayesFactor)))),
  }
}

/** @param shares of 1, all above 0 */
function logBayesFactor(counts: readonly number[], shares: readonly number[], concentration: number): number {
  const total = sum([...counts])
  const totalWithPrior = total + concentration
  const terms = counts.map((count, index) => {
    const share = shares[index] as number
    const priorCount = concentration * share
    const deviance = devianceTerm(priorCount + count, totalWithPrior * share, count - total * share)
    return deviance - Math.log1p(count / priorCount) / 2 + stirlingError(priorCount + count) - stirlingError(priorCount)
  })
  return (
    sum(terms) + Math.log1p(total / concentration) / 2 + stirlingError(concentration) - stirlingError(totalWithPrior)
  )
}

/**
 * Tests for a sample ratio mismatch over allocation periods, at any number of looks. The evidence is the mean of four
 * Bayes factors, those of `sequentialSampleRatio` with the concentrations 100, 1,000, 10,000 and 100,000; each of them
 * is the product over all periods. Under the correct allocation, every Bayes factor is a martingale with expectation 1,
 * also over periods, which are independent, and so is their mean. By Ville's inequality, the p-value falls below a
 * threshold at any of all looks with at most that probability.
 * @param periods cumulative counts; variants without a share are left out
 * @returns the log of the mean Bayes factor for a mismatch, and the always-valid p-value: the inverse of the mean
 * @throws RangeError for impossible counts or allocations
 * @see Lindon, Malek (2022), NeurIPS; Vovk, Wang (2021), Ann. Stat. 49, 1736-1754, for means of e-values;
 *   docs/inference.md, "Sample ratio mismatch"
 */
export function anytimeSampleRatio(periods: readonly AllocatedCounts[]): { logBayesFactor: number; pValue: number } {
  const drawn = periods.map(({ counts, allocation }) => {
    checkCounts(counts, allocation)
    const totalShare = sum([...allocation])
    const isDrawn = (_: number, index: number) => (allocation[index] as number) > 0
    return { counts: counts.filter(isDrawn), shares: allocation.filter(isDrawn).map((share) => share / totalShare) }
  })
  const logs = CONCENTRATIONS.map((concentration) =>
    sum(drawn.map(({ counts, shares }) => (shares.length < 2 ? 0 : logBayesFactor(counts, shares, concentration)))),
  )
  // The largest is taken out, because a Bayes factor of some 10,000 users may overflow.
  const largest = Math.max(...logs)
  const mean = largest + Math.log(sum(logs.map((log) => Math.exp(log - largest))) / logs.length)
  return { logBayesFactor: mean, pValue: Math.min(1, Math.exp(-mean)) }
}

function checkCounts(counts: readonly number[], allocation: readonly number[]): void {
  if (counts.length !== allocation.length) throw new RangeError('Every variant needs a count and an allocation')
  for (const count of counts)
    if (!Number.isSafeInteger(count) || count < 0)
      throw new RangeError(`The number of users must be a whole number from 0, not ${count}`)
  if (!allocation.every((share) => share >= 0 && Number.isFinite(share)) || !allocation.some((share) => share > 0))
    throw new RangeError('Allocations must not be negative, and one of them above 0')
}
