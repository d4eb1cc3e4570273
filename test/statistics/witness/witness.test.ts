import { spawnSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { betaCdf, studentSf } from '../../../server/statistics/distributions.ts'
import { fisherExact } from '../../../server/statistics/fisher-exact.ts'
import { benjaminiHochberg, bonferroni, holm } from '../../../server/statistics/multiple-comparisons.ts'
import { powerOfMeans } from '../../../server/statistics/power.ts'
import { powerOfProportions, sampleSizeOfProportions } from '../../../server/statistics/power-proportions.ts'
import { wilsonInterval } from '../../../server/statistics/proportion.ts'
import { newcombeInterval } from '../../../server/statistics/proportion-difference.ts'
import { welchTest } from '../../../server/statistics/reference/welch.ts'
import { sampleRatio } from '../../../server/statistics/sample-ratio.ts'
import { twoProportionZ } from '../../../server/statistics/two-proportion-z.ts'

const hasR = spawnSync('Rscript', ['--version']).status === 0
if (!hasR) console.log('Skipped: the comparison with base R. Install R (Debian: r-base-core) to run it.')

/** Computes questions with base R. @returns a list of numbers for each question */
function askR(questions: (readonly [method: string, ...vectors: (readonly number[])[]])[]): number[][] {
  const lines = questions.map(([method, ...vectors]) =>
    [method, ...vectors.map((vector) => vector.join(','))].join(';'),
  )
  const script = new URL('./witness.R', import.meta.url).pathname
  const { stdout, stderr, status } = spawnSync('Rscript', ['--vanilla', script], {
    input: `${lines.join('\n')}\n`,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  if (status !== 0) throw new Error(stderr)
  return stdout
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
}

const SAMPLES = 300
const draw = <T>(what: fc.Arbitrary<T>) => fc.sample(what, { numRuns: SAMPLES, seed: 417 })
const share = fc.double({ min: 0.001, max: 0.999, noNaN: true })
const level = fc.constantFrom(0.8, 0.9, 0.95, 0.99)
const counts = fc
  .tuple(fc.integer({ min: 20, max: 200_000 }), share)
  .map(([exposed, rate]) => ({ exposed, converted: Math.max(1, Math.floor(exposed * rate)) }))
const smallCounts = fc
  .tuple(fc.integer({ min: 2, max: 60 }), share)
  .map(([exposed, rate]) => ({ exposed, converted: Math.floor(exposed * rate) }))
const values = fc.array(
  fc.integer({ min: -100_000, max: 1_000_000 }).map((number) => number / 1000),
  { minLength: 3, maxLength: 40 },
)

const sumsOf = (numbers: readonly number[]) => ({
  n: numbers.length,
  sum: numbers.reduce((sum, value) => sum + value, 0),
  sumSq: numbers.reduce((sum, value) => sum + value ** 2, 0),
})
const x = (...all: { converted: number }[]) => all.map(({ converted }) => converted)
const n = (...all: { exposed: number }[]) => all.map(({ exposed }) => exposed)

/** Finds the largest relative difference between two lists of figures. */
function worstError(ours: readonly (number | null | undefined)[][], theirs: readonly number[][]): number {
  expect(ours).toHaveLength(theirs.length)
  let worst = 0
  for (const [row, figures] of theirs.entries())
    for (const [column, expected] of figures.entries()) {
      const actual = ours[row]?.[column] ?? Number.NaN
      if (actual === expected) continue
      const error = Math.abs(actual - expected) / Math.abs(expected)
      worst = Number.isNaN(error) ? Infinity : Math.max(worst, error)
    }
  return worst
}

type Question = Parameters<typeof askR>[0][number]
type Judged = { ours: (number | null | undefined)[]; question: Question }

/** The cases of each method, and the largest allowed relative difference. R's own iterations limit some of them. */
const methods: Record<string, { agree: number; cases: () => Judged[] }> = {
  'the pooled z-test': {
    agree: 1e-9,
    cases: () =>
      draw(fc.tuple(counts, counts)).map(([control, treatment]) => ({
        ours: [twoProportionZ(control, treatment, 0.05).pValue],
        question: ['z', x(control, treatment), n(control, treatment)],
      })),
  },
  "Wilson's interval": {
    agree: 1e-12,
    cases: () =>
      draw(fc.tuple(counts, level)).map(([rate, confidence]) => ({
        ours: [...wilsonInterval(rate, confidence)],
        question: ['wilson', x(rate), n(rate), [confidence]],
      })),
  },
  "Newcombe's interval": {
    agree: 1e-9,
    cases: () =>
      draw(fc.tuple(counts, counts, level)).map(([control, treatment, confidence]) => ({
        ours: [...(newcombeInterval(control, treatment, confidence) ?? [])],
        question: ['newcombe', x(control, treatment), n(control, treatment), [confidence]],
      })),
  },
  "Fisher's exact test": {
    agree: 1e-9,
    cases: () =>
      draw(fc.tuple(smallCounts, smallCounts)).map(([control, treatment]) => {
        const { pValue, pGreater, pLess } = fisherExact(control, treatment)
        return { ours: [pValue, pGreater, pLess], question: ['fisher', x(control, treatment), n(control, treatment)] }
      }),
  },
  "Welch's test": {
    agree: 1e-8,
    cases: () =>
      draw(fc.tuple(values, values, level)).map(([control, treatment, confidence]) => {
        const { test } = welchTest(sumsOf(control), sumsOf(treatment), confidence)
        return {
          ours: [test?.t, test?.degreesOfFreedom, test?.pValue, ...(test?.interval ?? [])],
          question: ['welch', control, treatment, [confidence]],
        }
      }),
  },
  'the sample ratio': {
    agree: 1e-9,
    cases: () =>
      draw(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 50_000 }), fc.integer({ min: 1, max: 9 })), {
          minLength: 2,
          maxLength: 5,
        }),
      ).map((rows) => {
        const [users, shares] = [rows.map(([one]) => one), rows.map(([, other]) => other)]
        const { chiSquare, pValue } = sampleRatio(users, shares)
        return { ours: [chiSquare, pValue], question: ['chisquare', users, shares] }
      }),
  },
  'corrections of several p-values': {
    agree: 1e-12,
    cases: () =>
      draw(fc.array(share, { minLength: 1, maxLength: 20 })).flatMap((pValues): Judged[] => [
        { ours: bonferroni(pValues), question: ['bonferroni', pValues] },
        { ours: holm(pValues), question: ['holm', pValues] },
        { ours: benjaminiHochberg(pValues), question: ['hochberg', pValues] },
      ]),
  },
  'the power of a test of two rates': {
    agree: 1e-9,
    cases: () =>
      draw(fc.tuple(share, share, fc.integer({ min: 2, max: 100_000 }), level)).map(
        ([one, other, users, confidence]) => ({
          ours: [powerOfProportions(one, other, { control: users, treatment: users }, confidence)],
          question: ['powerproportions', [users], [one, other], [confidence]],
        }),
      ),
  },
  "the sample size for two rates, within the precision of R's search": {
    agree: 1e-6,
    cases: () =>
      draw(
        fc.tuple(
          fc.double({ min: 0.02, max: 0.6, noNaN: true }),
          fc.double({ min: 0.05, max: 0.3, noNaN: true }),
          fc.constantFrom(0.8, 0.9),
        ),
      ).map(([rate, change, power]) => ({
        ours: [sampleSizeOfProportions(rate, rate + change, { confidenceLevel: 0.95, power, ratio: 1 }).controlExact],
        question: ['sizeproportions', [rate, rate + change], [0.95], [power]],
      })),
  },
  "the power of a test of two means, where the normal and R's Student reference are close": {
    agree: 1e-3,
    cases: () =>
      draw(fc.tuple(fc.integer({ min: 5000, max: 50_000 }), fc.double({ min: 1, max: 5, noNaN: true }))).map(
        ([users, t]) => {
          const difference = t * Math.sqrt(2 / users)
          return {
            ours: [powerOfMeans(1, difference, { control: users, treatment: users }, 0.95)],
            question: ['powermeans', [users], [difference], [1], [0.95]],
          }
        },
      ),
  },
  "tails of Student's and the beta distribution": {
    agree: 1e-9,
    cases: () =>
      draw(
        fc.tuple(fc.double({ min: 0, max: 25, noNaN: true }), fc.double({ min: 1, max: 1e6, noNaN: true }), share),
      ).flatMap(([t, df, rate]): Judged[] => [
        { ours: [studentSf(t, df)], question: ['student', [t], [df]] },
        { ours: [betaCdf(rate, df / 100_000 + 1, 20)], question: ['beta', [rate], [df / 100_000 + 1, 20]] },
      ]),
  },
}

describe.runIf(hasR)('base R, on randomly drawn data,', () => {
  test.each(Object.entries(methods))('agrees with the platform on %s', (name, { agree, cases }) => {
    const judged = cases()
    const worst = worstError(
      judged.map(({ ours }) => ours),
      askR(judged.map(({ question }) => question)),
    )
    console.log(`${name}: ${judged.length} cases, worst relative difference ${worst.toExponential(1)}`)
    expect(worst).toBeLessThan(agree)
  })
})
