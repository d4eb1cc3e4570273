import { fisherExact, isSmallSample } from '../../../server/statistics/fisher-exact.ts'
import { nonInferiority } from '../../../server/statistics/non-inferiority.ts'
import { sampleSizeOfMeans } from '../../../server/statistics/power.ts'
import { sampleSizeOfProportions } from '../../../server/statistics/power-proportions.ts'
import { wilsonInterval } from '../../../server/statistics/proportion.ts'
import { newcombeInterval, waldDifference } from '../../../server/statistics/proportion-difference.ts'
import { moverInterval } from '../../../server/statistics/proportion-uplift.ts'
import { meanLevel, welchTest } from '../../../server/statistics/reference/welch.ts'
import { twoProportionZ } from '../../../server/statistics/two-proportion-z.ts'
import { drawSums } from '../random.ts'
import { atLeast, atMost, covers, exactly, type Scenario, SHOWN } from '../scenario.ts'

const PLAN = { confidenceLevel: 0.95, power: 0.8, ratio: 1 }

const [RATE, CHANGED] = [0.1, 0.13]
const planned = sampleSizeOfProportions(RATE, CHANGED, PLAN)
/** Conversion rates that are analysed once, at the planned sample size. */
export const rates: Scenario<'alarm' | 'found' | 'wilson' | 'newcombe' | 'mover' | 'wald'> = {
  title: 'Conversion rates',
  note: `10 % convert in both variants, or 13 % in the treatment. For 80 % power, ${planned.control} users per variant are planned.`,
  cost: 1,
  figures: {
    alarm: { method: 'Pooled z-test', what: 'false positives', expected: exactly(0.05, 0.003) },
    found: { method: 'Pooled z-test', what: 'power', expected: exactly(0.8, 0.01) },
    wilson: { method: "Wilson's interval of a rate", what: 'coverage', expected: exactly(0.95, 0.01) },
    newcombe: { method: "Newcombe's interval of the difference", what: 'coverage', expected: exactly(0.95, 0.01) },
    mover: { method: 'MOVER interval of the uplift', what: 'coverage', expected: exactly(0.95, 0.01) },
    wald: { method: "Wald's interval of the difference", what: 'coverage', expected: SHOWN },
  },
  once: (random) => {
    const control = random.conversions(planned.control, RATE)
    const same = random.conversions(planned.control, RATE)
    const treatment = random.conversions(planned.treatment, CHANGED)
    return {
      alarm: twoProportionZ(control, same, 0.05).isSignificant,
      found: twoProportionZ(control, treatment, 0.05).isSignificant,
      wilson: covers(wilsonInterval(treatment, 0.95), CHANGED),
      newcombe: covers(newcombeInterval(control, treatment, 0.95), CHANGED - RATE),
      mover: covers(moverInterval(control, treatment, 0.95), CHANGED / RATE - 1),
      wald: covers(waldDifference(control, treatment, 0.95)?.interval, CHANGED - RATE),
    }
  },
}

/** Few users and few conversions, for which Fisher's exact test replaces the z-test. */
export const smallSamples: Scenario<'exact' | 'z' | 'wilson' | 'wald'> = {
  title: 'Small samples',
  note: '2 % of 60 users per variant convert. The exact test is conservative by construction.',
  cost: 1,
  figures: {
    exact: { method: "Fisher's exact test", what: 'false positives', expected: atMost(0.05) },
    z: { method: 'Pooled z-test', what: 'false positives', expected: SHOWN },
    wilson: { method: "Wilson's interval of a rate", what: 'coverage', expected: atLeast(0.95, 0.03) },
    wald: { method: "Wald's interval of the difference", what: 'coverage', expected: SHOWN },
  },
  once: (random) => {
    const [control, same] = [random.conversions(60, 0.02), random.conversions(60, 0.02)]
    return {
      exact: isSmallSample(control, same) ? fisherExact(control, same).pValue < 0.05 : null,
      z: twoProportionZ(control, same, 0.05).isSignificant,
      wilson: covers(wilsonInterval(control, 0.95), 0.02),
      wald: covers(waldDifference(control, same, 0.95)?.interval, 0),
    }
  },
}

const USERS = 2000
const UPLIFT = 0.2
/** Means of revenue: 8 % of the users pay, and amounts are log-normal. */
export const revenue: Scenario<'alarm' | 'contradicts' | 'difference' | 'fieller' | 'delta'> = {
  title: 'Skewed revenue',
  note: `8 % of ${USERS} users per variant pay a log-normal amount; the treatment raises amounts by 20 %.`,
  cost: 4,
  figures: {
    alarm: { method: "Welch's test", what: 'false positives', expected: exactly(0.05, 0.01) },
    difference: { method: "Welch's interval of the difference", what: 'coverage', expected: exactly(0.95, 0.015) },
    fieller: { method: "Fieller's interval of the uplift", what: 'coverage', expected: exactly(0.95, 0.015) },
    delta: { method: 'Delta interval of the uplift', what: 'coverage', expected: SHOWN },
    contradicts: { method: "Fieller's interval against the test", what: 'error rate', expected: atMost(0) },
  },
  once: (random) => {
    const control = drawSums(USERS, () => random.revenue(0.08))
    const same = welchTest(
      control,
      drawSums(USERS, () => random.revenue(0.08)),
      0.95,
    )
    const changed = welchTest(
      control,
      drawSums(USERS, () => random.revenue(0.08, 1 + UPLIFT)),
      0.95,
    )
    const mean = 0.08 * Math.exp(2 + 1.2 ** 2 / 2)
    const { test, uplift } = changed
    return {
      alarm: same.test ? same.test.pValue < 0.05 : null,
      difference: covers(test?.interval, mean * UPLIFT),
      fieller: covers(uplift?.fieller, UPLIFT),
      delta: covers(uplift?.delta.interval, UPLIFT),
      contradicts: test && uplift?.fieller ? test.pValue < 0.05 === covers(uplift.fieller, 0) : null,
    }
  },
}

const DIFFERENCE = 0.25
const size = sampleSizeOfMeans(2, DIFFERENCE, PLAN)
/** Means at the planned sample size, and guardrails whose true difference equals their margin. */
export const means: Scenario<'alarm' | 'found' | 'unharmed' | 'margin'> = {
  title: 'Means at their planned size',
  note: `Gamma-like values with standard deviation 2, ${size.control} users per variant, an effect of ${DIFFERENCE}. The guardrail is worse by exactly its margin.`,
  cost: 1,
  figures: {
    alarm: { method: "Welch's test", what: 'false positives', expected: exactly(0.05, 0.004) },
    found: { method: "Welch's test", what: 'power', expected: exactly(0.8, 0.01) },
    margin: { method: 'Non-inferiority', what: 'false positives', expected: exactly(0.05, 0.005) },
    unharmed: { method: 'Non-inferiority, no harm', what: 'power', expected: SHOWN },
  },
  once: (random) => {
    const draw = (shift: number) => () => shift + random.exponential(2)
    const [control, same, treatment, worse] = [0, 0, DIFFERENCE, -DIFFERENCE].map((shift) =>
      drawSums(size.control, draw(shift)),
    ) as [Sums, Sums, Sums, Sums]
    const passes = (treatment: Sums) => {
      const [one, other] = [meanLevel(control), meanLevel(treatment)]
      const margin = { type: 'absolute', size: DIFFERENCE } as const
      return one && other && (nonInferiority(one, other, margin, 'increase', 0.95)?.isNonInferior ?? null)
    }
    const isFound = (treatment: Sums) => (welchTest(control, treatment, 0.95).test?.pValue ?? 1) < 0.05
    return { alarm: isFound(same), found: isFound(treatment), margin: passes(worse), unharmed: passes(same) }
  },
}
type Sums = ReturnType<typeof drawSums>
