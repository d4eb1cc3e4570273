import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { effectPosterior } from '../../server/statistics/bayesian-effect.ts'
import { ratePosteriors } from '../../server/statistics/beta-binomial.ts'
import type { Comparison } from '../../server/statistics/comparison.ts'
import { cupedMeans } from '../../server/statistics/cuped.ts'
import { cupedRatios } from '../../server/statistics/cuped-ratio.ts'
import { exclusionRates } from '../../server/statistics/exclusion-rates.ts'
import { benjaminiHochberg, bonferroni, holm } from '../../server/statistics/multiple-comparisons.ts'
import { nonInferiority } from '../../server/statistics/non-inferiority.ts'
import { stratifiedTest } from '../../server/statistics/periods.ts'
import { stratifiedRatio } from '../../server/statistics/periods-ratio.ts'
import { detectableDifference, powerOfMeans, sampleSizeOfMeans } from '../../server/statistics/power.ts'
import { detectableIncrease, sampleSizeOfProportions } from '../../server/statistics/power-proportions.ts'
import { sequentialSampleSize } from '../../server/statistics/power-sequential.ts'
import { newcombeInterval, waldDifference } from '../../server/statistics/proportion-difference.ts'
import { katzLogInterval, moverInterval } from '../../server/statistics/proportion-uplift.ts'
import { quantileTest, summarizeQuantile } from '../../server/statistics/quantile.ts'
import { ratioTest } from '../../server/statistics/ratio.ts'
import { mixtureSprt } from '../../server/statistics/reference/mixture-sprt.ts'
import { probabilityBestNormal } from '../../server/statistics/reference/probability-best.ts'
import { meanLevel, welchTest } from '../../server/statistics/reference/welch.ts'
import { runTime } from '../../server/statistics/run-time.ts'
import { sampleRatio, sequentialSampleRatio } from '../../server/statistics/sample-ratio.ts'
import { confidenceSequence, sequentialUplift } from '../../server/statistics/sequential.ts'
import { winsorize } from '../../server/statistics/winsorization.ts'

const RUNS = { numRuns: 400, seed: 20261126 }

/** Any value that an event may have: up to 1e12 in size, with up to nine decimals. */
const value = fc
  .oneof(
    fc.constantFrom(0, 1, -1, 1e-9, -1e-9, 1e12, -1e12, 5e11),
    fc.double({ min: -1e12, max: 1e12, noNaN: true }),
    fc.double({ min: -10, max: 10, noNaN: true }),
  )
  .map((number) => Math.round(number * 1e9) / 1e9)
const users = fc.oneof(
  fc.constantFrom(0, 1, 2, 3),
  fc.integer({ min: 0, max: 1000 }),
  fc.integer({ min: 0, max: 2_000_000_000 }),
)
const level = fc.constantFrom(0.5001, 0.8, 0.9, 0.95, 0.99, 0.999999)

/** The sums of users, some with one value and the rest with another, which gives any mean and any variance. */
const sums = fc.tuple(users, value, value, fc.double({ min: 0, max: 1, noNaN: true })).map(([n, one, other, share]) => {
  const some = Math.round(n * share)
  return { n, sum: some * one + (n - some) * other, sumSq: some * one ** 2 + (n - some) * other ** 2 }
})
const counts = fc
  .tuple(users, fc.double({ min: 0, max: 1, noNaN: true }))
  .map(([exposed, share]) => ({ exposed, converted: Math.round(exposed * share) }))
const jointSums = fc.tuple(sums, sums, fc.double({ min: -1, max: 1, noNaN: true })).map(([y, x, correlation]) => ({
  n: y.n,
  sumY: y.sum,
  sumSqY: y.sumSq,
  sumX: x.n === 0 ? 0 : (x.sum / x.n) * y.n,
  sumSqX: x.n === 0 ? 0 : (x.sumSq / x.n) * y.n,
  sumXY: correlation * Math.sqrt(y.sumSq) * Math.sqrt(x.n === 0 ? 0 : (x.sumSq / x.n) * y.n),
}))

/**
 * Checks that every figure in an answer is a finite number or null, and that p-values and probabilities are in 0..1.
 */
function check(answer: unknown, path = ''): void {
  if (typeof answer === 'number') {
    const isInfiniteAllowed = /degreesOfFreedom$|upperBound$|lowerBound$/.test(path)
    if (Number.isNaN(answer) || !(Number.isFinite(answer) || isInfiniteAllowed)) throw new Error(`${path} is ${answer}`)
    if (/(pValue|pGreater|pLess|probability\w*)$/.test(path) && !(answer >= 0 && answer <= 1 + 1e-12))
      throw new Error(`${path} is ${answer}`)
  } else if (typeof answer === 'object' && answer !== null)
    for (const [key, inner] of Object.entries(answer)) check(inner, `${path}.${key}`)
}

/** Checks that undefined figures are null, never 0, and that the status says which figures are undefined. */
function checkComparison(comparison: Comparison): void {
  check(comparison)
  const { status, test, uplift, difference } = comparison
  expect(test !== null).toBe(status === 'ok' || status === 'zero_baseline')
  if (status === 'ok') expect(uplift).not.toBeNull()
  else expect(uplift).toBeNull()
  if (status === 'ok' && test && uplift?.fieller && test.pValue > 1e-300) {
    const [lower, upper] = uplift.fieller
    expect(lower <= upper).toBe(true)
  }
  if (test) expect(difference).not.toBeNull()
}

describe('valid input never gives NaN, an exception or a figure that is undefined', () => {
  test('in tests of means, ratios and their covariates', () => {
    fc.assert(
      fc.property(sums, sums, level, (control, treatment, confidence) => {
        checkComparison(welchTest(control, treatment, confidence))
        checkComparison(stratifiedTest([{ users: control.n + treatment.n, control, treatment }], confidence))
      }),
      RUNS,
    )
    fc.assert(
      fc.property(fc.array(jointSums, { minLength: 2, maxLength: 4 }), level, (variants, confidence) => {
        const { comparisons, theta, variants: adjusted } = cupedMeans(variants, confidence)
        for (const comparison of comparisons) checkComparison(comparison)
        check({ theta, adjusted })
        const ratios = variants.map(({ n, sumY, sumSqY, sumX, sumSqX, sumXY }) => ({
          n,
          sumNum: sumY,
          sumSqNum: sumSqY,
          sumDen: sumX,
          sumSqDen: sumSqX,
          sumNumDen: sumXY,
        }))
        checkComparison(ratioTest(ratios[0] as (typeof ratios)[0], ratios[1] as (typeof ratios)[0], confidence))
        const stratum = { control: ratios[0] as (typeof ratios)[0], treatment: ratios[1] as (typeof ratios)[0] }
        const users = stratum.control.n + stratum.treatment.n
        checkComparison(
          stratifiedRatio(
            users === 0
              ? []
              : [
                  { users, ...stratum },
                  { users, ...stratum },
                ],
            confidence,
          ),
        )
        const four = variants.map(({ n, sumY, sumSqY, sumX, sumSqX, sumXY }) => ({
          n,
          sums: [sumY, sumX, sumY / 2, sumX / 2],
          products: [
            [sumSqY, sumXY, sumSqY / 2, sumXY / 2],
            [sumXY, sumSqX, sumXY / 2, sumSqX / 2],
            [sumSqY / 2, sumXY / 2, sumSqY / 4, sumXY / 4],
            [sumXY / 2, sumSqX / 2, sumXY / 4, sumSqX / 4],
          ],
        }))
        const adjustedRatios = cupedRatios(four, confidence)
        for (const comparison of adjustedRatios.comparisons) checkComparison(comparison)
        check(adjustedRatios)
      }),
      RUNS,
    )
  })

  test('in tests of conversion rates', () => {
    fc.assert(
      fc.property(counts, counts, level, (control, treatment, confidence) => {
        check(newcombeInterval(control, treatment, confidence))
        check(waldDifference(control, treatment, confidence))
        check(moverInterval(control, treatment, confidence))
        check(katzLogInterval(control, treatment, confidence))
        check(
          exclusionRates(
            [control, treatment].map(({ exposed, converted }) => ({ assigned: exposed, excluded: converted })),
          ),
        )
      }),
      RUNS,
    )
    fc.assert(
      fc.property(counts, counts, level, (control, treatment, credibility) => {
        check(ratePosteriors(control, treatment, credibility))
      }),
      { ...RUNS, numRuns: 60 },
    )
  })

  test('in tests of quantiles and with caps', () => {
    const clusters = fc.array(fc.array(value, { maxLength: 5 }), { maxLength: 40 })
    fc.assert(
      fc.property(
        clusters,
        clusters,
        fc.constantFrom(0.01, 0.5, 0.9, 0.99),
        level,
        (one, other, fraction, confidence) => {
          const summaries = [one, other].map((rows) => summarizeQuantile(rows, fraction, confidence))
          checkComparison(quantileTest(summaries[0] ?? null, summaries[1] ?? null, fraction, confidence))
          check(winsorize([one.flat(), other.flat()], { lower: 0.01, upper: fraction, ignoreZeros: true }))
        },
      ),
      RUNS,
    )
  })

  test('in sequential tests, posteriors, guardrails and sample ratios', () => {
    fc.assert(
      fc.property(sums, sums, level, fc.integer({ min: 1, max: 1e9 }), (control, treatment, confidence, tuning) => {
        const { test: tested, effect, difference } = welchTest(control, treatment, confidence)
        if (!tested || !effect || difference === null) return
        const n = control.n + treatment.n
        check(confidenceSequence({ difference, standardError: tested.standardError, n }, confidence, tuning))
        check(sequentialUplift(effect, n, confidence, tuning))
        check(effectPosterior(difference, tested.standardError, null, confidence))
        check(effectPosterior(difference, tested.standardError, { mean: 0, variance: 0.09 }, confidence, true))
        check(mixtureSprt(difference, effect.varianceOfDifference, 1, confidence))
        const [one, other] = [meanLevel(control), meanLevel(treatment)]
        if (one && other)
          for (const type of ['absolute', 'relative'] as const)
            check(nonInferiority(one, other, { type, size: 0.1 }, 'decrease', confidence))
      }),
      RUNS,
    )
    fc.assert(
      fc.property(fc.array(users, { minLength: 1, maxLength: 5 }), (allocated) => {
        const allocation = allocated.map((_, index) => index + 1)
        check(sampleRatio(allocated, allocation))
        check(sequentialSampleRatio([allocated], allocation))
      }),
      RUNS,
    )
    const normal = fc.record({
      mean: fc.double({ min: -1e6, max: 1e6, noNaN: true }),
      sd: fc.double({ min: 1e-6, max: 1e6, noNaN: true }),
    })
    fc.assert(
      fc.property(fc.array(normal, { minLength: 1, maxLength: 4 }), (posteriors) => {
        check({ probability: probabilityBestNormal(posteriors) })
      }),
      { ...RUNS, numRuns: 100 },
    )
  })

  test('in sample sizes, power and corrections of p-values', () => {
    const plan = fc.record({
      confidenceLevel: fc.constantFrom(0.8, 0.95, 0.99),
      power: fc.constantFrom(0.5, 0.8, 0.99),
      ratio: fc.double({ min: 0.01, max: 100, noNaN: true }),
    })
    const positive = fc.double({ min: 1e-9, max: 1e12, noNaN: true })
    fc.assert(
      fc.property(plan, positive, positive, fc.integer({ min: 1, max: 1e12 }), (planned, sd, difference, control) => {
        check(sampleSizeOfMeans(sd, difference, planned))
        const given = { control, treatment: control * planned.ratio }
        check(powerOfMeans(sd, difference, given, planned.confidenceLevel))
        check(detectableDifference(sd, given, planned))
        check(sequentialSampleSize(sd, difference, planned, 5000))
        check(runTime([control], [1], 10, 0.5))
      }),
      RUNS,
    )
    const rate = fc.double({ min: 1e-6, max: 1 - 1e-6, noNaN: true })
    fc.assert(
      fc.property(plan, rate, rate, fc.integer({ min: 1, max: 1e12 }), (planned, one, other, control) => {
        if (one !== other) check(sampleSizeOfProportions(one, other, planned))
        check(detectableIncrease(one, { control, treatment: control * planned.ratio }, planned))
      }),
      RUNS,
    )
    fc.assert(
      fc.property(fc.array(fc.option(fc.double({ min: 0, max: 1, noNaN: true }))), (pValues) => {
        for (const adjusted of [bonferroni(pValues), holm(pValues), benjaminiHochberg(pValues)]) {
          check({ pValue: adjusted })
          for (const [index, p] of pValues.entries())
            if (p === null) expect(adjusted[index]).toBeNull()
            else expect(adjusted[index]).toBeGreaterThanOrEqual(p * (1 - 1e-15))
        }
      }),
      RUNS,
    )
  })
})

describe('invalid input is refused with a RangeError that names the fault', () => {
  test.each<[string, () => unknown]>([
    ['confidence level', () => welchTest({ n: 5, sum: 1, sumSq: 2 }, { n: 5, sum: 1, sumSq: 2 }, 1)],
    ['confidence level of a sequence', () => confidenceSequence({ difference: 1, standardError: 1, n: 10 }, 0.4)],
    ['standard error above 0', () => confidenceSequence({ difference: 1, standardError: 0, n: 10 }, 0.95)],
    ['tuning', () => confidenceSequence({ difference: 1, standardError: 1, n: 10 }, 0.95, 0)],
    ['quantile must be above 0', () => summarizeQuantile([[1]], 1, 0.95)],
    [
      'margin must be above 0',
      () =>
        nonInferiority(
          { n: 5, level: 1, variance: 1 },
          { n: 5, level: 1, variance: 1 },
          { type: 'absolute', size: 0 },
          'increase',
          0.95,
        ),
    ],
    [
      'effect to be found must not be 0',
      () => sampleSizeOfMeans(1, 0, { confidenceLevel: 0.95, power: 0.8, ratio: 1 }),
    ],
    [
      'standard deviation must be above 0',
      () => sampleSizeOfMeans(0, 1, { confidenceLevel: 0.95, power: 0.8, ratio: 1 }),
    ],
    [
      'conversion rate must be above 0',
      () => sampleSizeOfProportions(0.5, 1, { confidenceLevel: 0.95, power: 0.8, ratio: 1 }),
    ],
    ['power must be above 0', () => sampleSizeOfMeans(1, 1, { confidenceLevel: 0.95, power: 1, ratio: 1 })],
    ['p-value must be from 0 to 1', () => holm([1.5])],
    ['whole number', () => sampleRatio([1.5, 2], [1, 1])],
    ['one of them above 0', () => sampleRatio([1, 2], [0, 0])],
    ['no variant', () => probabilityBestNormal([])],
    ['must not be negative', () => runTime([5], [1], -1, 1)],
  ])('%s', (message, work) => {
    expect(work).toThrow(RangeError)
    expect(work).toThrow(message)
  })
})
