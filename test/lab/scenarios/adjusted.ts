import { cupedMeans } from '../../../server/statistics/cuped.ts'
import { mergeRows } from '../../../server/statistics/moments.ts'
import { stratifiedTest } from '../../../server/statistics/periods.ts'
import { sampleSizeOfMeans } from '../../../server/statistics/power.ts'
import { quantileTest, summarizeQuantile } from '../../../server/statistics/quantile.ts'
import { ratioTest } from '../../../server/statistics/ratio.ts'
import { welchTest } from '../../../server/statistics/reference/welch.ts'
import { twoProportionZ } from '../../../server/statistics/two-proportion-z.ts'
import { drawSums, type Random } from '../random.ts'
import { covers, exactly, type Scenario, SHOWN } from '../scenario.ts'

const USERS = 800

/** A ratio of clicks and views, both of which differ between users. */
export const ratios: Scenario<'alarm' | 'naive' | 'difference' | 'uplift'> = {
  title: 'Ratios',
  note: `Clicks per view of ${USERS} users per variant. Users differ in how many pages they view and how often they click. A z-test with views as units is shown for comparison.`,
  cost: 4,
  figures: {
    alarm: { method: 'Ratio by the delta method', what: 'false positives', expected: exactly(0.05, 0.006) },
    difference: { method: 'Ratio, interval of the difference', what: 'coverage', expected: exactly(0.95, 0.01) },
    uplift: { method: "Ratio, Fieller's interval of the uplift", what: 'coverage', expected: exactly(0.95, 0.01) },
    naive: { method: 'z-test with views as units', what: 'false positives', expected: SHOWN },
  },
  once: (random) => {
    const draw = (rate: number) => {
      const sums = { n: USERS, sumNum: 0, sumSqNum: 0, sumDen: 0, sumSqDen: 0, sumNumDen: 0 }
      for (let user = 0; user < USERS; user++) {
        const views = 1 + random.poisson(random.exponential(4))
        const clickRate = 2 * rate * random.uniform()
        let clicks = 0
        for (let view = 0; view < views; view++) if (random.chance(clickRate)) clicks++
        sums.sumNum += clicks
        sums.sumSqNum += clicks ** 2
        sums.sumDen += views
        sums.sumSqDen += views ** 2
        sums.sumNumDen += clicks * views
      }
      return sums
    }
    const [control, same, treatment] = [draw(0.2), draw(0.2), draw(0.22)]
    const changed = ratioTest(control, treatment, 0.95)
    const views = ({ sumNum, sumDen }: typeof control) => ({ exposed: sumDen, converted: sumNum })
    return {
      alarm: (ratioTest(control, same, 0.95).test?.pValue ?? 1) < 0.05,
      naive: twoProportionZ(views(control), views(same), 0.05).isSignificant,
      difference: covers(changed.test?.interval, 0.02),
      uplift: covers(changed.uplift?.fieller, 0.1),
    }
  },
}

const CORRELATION = 0.7
const EFFECT = 0.2
const size = sampleSizeOfMeans(1, EFFECT, { confidenceLevel: 0.95, power: 0.8, ratio: 1 }, CORRELATION ** 2)
/** CUPED with a covariate whose correlation is 0.7, at the sample size that was planned with this correlation. */
export const covariates: Scenario<'alarm' | 'found' | 'without' | 'difference' | 'uplift'> = {
  title: 'CUPED',
  note: `The covariate has a correlation of ${CORRELATION}; ${size.control} users per variant were planned with it.`,
  cost: 2,
  figures: {
    alarm: { method: 'CUPED', what: 'false positives', expected: exactly(0.05, 0.005) },
    difference: { method: 'CUPED, interval of the difference', what: 'coverage', expected: exactly(0.95, 0.01) },
    uplift: { method: "CUPED, Fieller's interval of the uplift", what: 'coverage', expected: exactly(0.95, 0.01) },
    found: { method: 'CUPED', what: 'power', expected: exactly(0.8, 0.015) },
    without: { method: "Welch's test without it", what: 'power', expected: SHOWN },
  },
  once: (random) => {
    const draw = (level: number) => {
      const sums = { n: size.control, sumY: 0, sumSqY: 0, sumX: 0, sumSqX: 0, sumXY: 0 }
      for (let user = 0; user < size.control; user++) {
        const before = random.normal()
        const x = 5 + before
        const y = level + CORRELATION * before + Math.sqrt(1 - CORRELATION ** 2) * random.normal()
        sums.sumY += y
        sums.sumSqY += y ** 2
        sums.sumX += x
        sums.sumSqX += x ** 2
        sums.sumXY += x * y
      }
      return sums
    }
    const [control, same, treatment] = [draw(5), draw(5), draw(5 + EFFECT)]
    const [alarm] = cupedMeans([control, same], 0.95).comparisons
    const [changed] = cupedMeans([control, treatment], 0.95).comparisons
    const plain = ({ n, sumY, sumSqY }: typeof control) => ({ n, sum: sumY, sumSq: sumSqY })
    return {
      alarm: (alarm?.test?.pValue ?? 1) < 0.05,
      found: (changed?.test?.pValue ?? 1) < 0.05,
      without: (welchTest(plain(control), plain(treatment), 0.95).test?.pValue ?? 1) < 0.05,
      difference: covers(changed?.test?.interval, EFFECT),
      uplift: covers(changed?.uplift?.fieller, EFFECT / 5),
    }
  },
}

/** The 90th percentile of latencies, of which each user sends several. */
export const quantiles: Scenario<'alarm' | 'difference' | 'unclustered'> = {
  title: 'Quantiles',
  note: 'The 90th percentile of latencies: 500 users per variant with about five latencies each. Each user is fast or slow throughout. A method with events as units is shown for comparison.',
  cost: 20,
  figures: {
    alarm: { method: 'Clustered quantile', what: 'false positives', expected: exactly(0.05, 0.02) },
    difference: { method: 'Clustered quantile, interval', what: 'coverage', expected: exactly(0.95, 0.02) },
    unclustered: { method: 'Quantile with events as units', what: 'false positives', expected: SHOWN },
  },
  once: (random) => {
    const draw = (scale: number) =>
      summarizeQuantile(
        Array.from({ length: 500 }, () => {
          const own = 0.6 * random.normal()
          return Array.from({ length: 1 + random.poisson(4) }, () => scale * Math.exp(5 + own + 0.8 * random.normal()))
        }),
        0.9,
        0.95,
      )
    const [control, same, slower] = [draw(1), draw(1), draw(1.2)]
    /** Treats each event as a user of its own. */
    const alone = (summary: typeof control) =>
      summary && { ...summary, clusters: summary.n, sumSqJ: summary.sumJ, sumSqN: summary.n, sumJN: summary.sumJ }
    const quantile = Math.exp(5 + 1.2815515655446004 * Math.hypot(0.6, 0.8))
    return {
      alarm: (quantileTest(control, same, 0.9, 0.95).test?.pValue ?? 1) < 0.05,
      unclustered: (quantileTest(alone(control), alone(same), 0.9, 0.95).test?.pValue ?? 1) < 0.05,
      difference: covers(quantileTest(control, slower, 0.9, 0.95).test?.interval, 0.2 * quantile),
    }
  },
}

/** A change of allocation from 90/10 to 50/50, while the metric's level rises for all users. */
export const allocationChanges: Scenario<'pooled' | 'stratified' | 'difference'> = {
  title: 'A change of allocation',
  note: '4,000 users at 90/10, then 4,000 at 50/50, while the level rises from 1 to 2 for everybody. The treatment does nothing, or adds 0.3.',
  cost: 4,
  figures: {
    stratified: { method: 'Stratified by period', what: 'false positives', expected: exactly(0.05, 0.006) },
    difference: { method: 'Stratified by period, interval', what: 'coverage', expected: exactly(0.95, 0.01) },
    pooled: { method: "Welch's test over all periods", what: 'false positives', expected: SHOWN },
  },
  once: (random) => {
    const periods = (effect: number) => [period(random, 1, 0.1, effect), period(random, 2, 0.5, effect)]
    const same = periods(0)
    const all = (side: 'control' | 'treatment') =>
      mergeRows(
        ['n', 'sum', 'sumSq'],
        same.map((stratum) => stratum[side]),
      )
    return {
      pooled: (welchTest(all('control'), all('treatment'), 0.95).test?.pValue ?? 1) < 0.05,
      stratified: (stratifiedTest(same, 0.95).test?.pValue ?? 1) < 0.05,
      difference: covers(stratifiedTest(periods(0.3), 0.95).test?.interval, 0.3),
    }
  },
}

function period(random: Random, level: number, share: number, effect: number) {
  let treated = 0
  for (let user = 0; user < 4000; user++) if (random.chance(share)) treated++
  return {
    users: 4000,
    control: drawSums(4000 - treated, () => random.exponential(level)),
    treatment: drawSums(treated, () => effect + random.exponential(level)),
  }
}
