import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  efficacyBounds,
  equalFractions,
  futilityBounds,
  groupSequentialBounds,
  SMALLEST_STEP,
} from '../../server/statistics/group-sequential.ts'
import {
  expectedShareOfUsers,
  groupSequentialDesign,
  powerOfLooks,
} from '../../server/statistics/power-group-sequential.ts'
import { createRandom } from '../lab/random.ts'

const inOrder = (figures: readonly number[], expected: readonly number[], digits = 6) =>
  expect(figures.map((figure, index) => [index, figure])).toEqual(
    expected.map((figure, index) => [index, expect.closeTo(figure, digits)]),
  )

/**
 * Made by rpact 3.3.4 of R: `getDesignGroupSequential(sided = 1, alpha, beta, informationRates, typeOfDesign = "asOF",
 * typeBetaSpending = "bsHSD", gammaB = -4, bindingFutility = FALSE)` and `getDesignCharacteristics`. One side spends
 * half of alpha.
 */
const designsOfRpact = [
  {
    plan: { looks: 5, confidenceLevel: 0.95, power: 0.8 },
    efficacy: [4.876884949, 3.357011922, 2.680280067, 2.289816774, 2.031032063],
    futility: [-1.3233618844, -0.4430399477, 0.3576104944, 1.1485425788, 2.031032063],
    inflation: 1.048909467,
    underEffect: 0.8080711596,
    underNull: 0.6323330868,
  },
  {
    plan: { looks: 3, confidenceLevel: 0.99, power: 0.9 },
    efficacy: [4.722905221, 3.245701037, 2.589324467],
    futility: [-0.3126216583, 1.1747428779, 2.589324467],
    inflation: 1.019618325,
    underEffect: 0.8460059005,
    underNull: 0.5911385697,
  },
  {
    plan: { looks: 10, confidenceLevel: 0.95, power: 0.8 },
    efficacy: [
      6.991351707, 4.876885198, 3.929682307, 3.367079072, 2.989329822, 2.714808993, 2.504077397, 2.335829206,
      2.19750338, 2.081175663,
    ],
    futility: [
      -1.98776571622, -1.4273434137, -0.94270961685, -0.49924862897, -0.07921869541, 0.32846518466, 0.7321180501,
      1.13935467368, 1.56158340489, 2.081175663,
    ],
    inflation: 1.072309203,
    underEffect: 0.7738435472,
    underNull: 0.5952417181,
  },
]

describe('a group sequential design', () => {
  test.each(designsOfRpact)('equals the design of rpact: $plan', (rpact) => {
    const design = groupSequentialDesign(rpact.plan)
    inOrder(
      design.looks.map(({ efficacyZ }) => efficacyZ),
      rpact.efficacy,
    )
    inOrder(
      design.looks.map(({ futilityZ }) => futilityZ),
      rpact.futility,
    )
    inOrder([design.inflation], [rpact.inflation])
    // rpact stops for harm at no look; the difference is the probability of that.
    inOrder([design.expectedUnderEffect, design.expectedUnderNull], [rpact.underEffect, rpact.underNull], 5)
  })

  test('takes 1.05 times the users of a fixed test, and 1.03 times without futility', () => {
    const { inflation, inflationWithoutFutility } = groupSequentialDesign({ confidenceLevel: 0.95, power: 0.8 })
    expect(Math.abs(inflation - 1.05)).toBeLessThan(0.01)
    expect(Math.abs(inflationWithoutFutility - 1.03)).toBeLessThan(0.01)
  })

  test('has the planned power, spends alpha and beta, and is a fixed test if it has one look', () => {
    for (const looks of [1, 2, 5])
      for (const confidenceLevel of [0.9, 0.9975])
        for (const power of [0.5, 0.8, 0.95]) {
          const plan = { looks, confidenceLevel, power }
          const design = groupSequentialDesign(plan)
          expect(powerOfLooks(design.drift, plan)).toBeCloseTo(power, 2)
          expect(expectedShareOfUsers(design.drift, plan) * design.inflation).toBeCloseTo(design.expectedUnderEffect, 9)
          const last = design.looks[looks - 1]
          expect(last?.cumulativeAlpha).toBeCloseTo(1 - confidenceLevel, 12)
          expect(last?.cumulativeBeta).toBeCloseTo(1 - power, 12)
          if (looks === 1) expect(design.inflation).toBeCloseTo(1, 9)
        }
  })
})

describe('bounds at the actual fractions', () => {
  test('equal those of rpact where the looks are not equally spaced, and where the last one is late', () => {
    inOrder(
      efficacyBounds([0.21, 0.45, 0.58, 0.83, 1], 0.95).zBounds,
      [4.752914183, 3.143908955, 2.74909196, 2.23148676, 2.039817892],
    )
    // rpact: informationRates divided by 1.3, typeOfDesign = "asUser", the alpha that the planned fractions spend
    inOrder(
      efficacyBounds([0.2, 0.4, 0.6, 0.8, 1.3], 0.95).zBounds,
      [4.876884949, 3.357011922, 2.680280067, 2.289816774, 2.090080641],
    )
  })

  test('of a look depend on no later look', () => {
    const [one, other] = [
      [0.23, 0.4, 1],
      [0.23, 0.4, 0.61, 0.8, 1.02],
    ]
    inOrder(efficacyBounds(one, 0.95).zBounds.slice(0, 2), efficacyBounds(other, 0.95).zBounds.slice(0, 2), 10)
    const futility = (fractions: number[]) => futilityBounds(fractions, 0.95, 0.8, 5).slice(0, 2)
    inOrder(futility(one), futility(other), 10)
  })

  test('are finite and in order, however early, late or close to one another the looks are', () => {
    for (const fractions of [[0.0005, 1], [0.5, 0.502, 1], [0.98, 0.99, 3], [0.3], equalFractions(20)])
      for (const confidenceLevel of [0.8, 0.95, 0.9995]) {
        const { zBounds } = efficacyBounds(fractions, confidenceLevel)
        const futility = futilityBounds(fractions, confidenceLevel, 0.9, 5)
        for (const [look, z] of zBounds.entries()) {
          expect(z).toBeLessThanOrEqual(40)
          expect(futility[look]).toBeLessThanOrEqual(z)
          expect(Number.isFinite(futility[look])).toBe(true)
        }
      }
  })

  test('of a look that follows closely are about those of the look before', () => {
    const step = fc.double({ min: SMALLEST_STEP, max: 0.01, noNaN: true })
    const before = fc
      .integer({ min: 2, max: 20 })
      .chain((looks) =>
        fc.integer({ min: Math.ceil(looks / 4), max: looks - 1 }).map((read) => equalFractions(looks).slice(0, read)),
      )
    const level = fc.double({ min: 0.8, max: 0.9995, noNaN: true })
    fc.assert(
      fc.property(before, step, level, (fractions, further, confidenceLevel) => {
        const { nominalP } = efficacyBounds([...fractions, (fractions.at(-1) as number) + further], confidenceLevel)
        const [last = 0, next = 0] = nominalP.slice(-2)
        expect(next / last).toBeGreaterThan(0.7)
        expect(next / last).toBeLessThan(4)
      }),
      { numRuns: 300 },
    )
  })

  test.each([
    ['efficacy', () => efficacyBounds([], 0.95)],
    ['efficacy', () => efficacyBounds([0.5, 0.501], 0.95)],
    ['efficacy', () => efficacyBounds([0.5, 0.5], 0.95)],
    ['efficacy', () => efficacyBounds([0.5, 1, 1.1], 0.95)],
    ['efficacy', () => efficacyBounds([0.5, 1], 1)],
    ['futility', () => futilityBounds([0.5, 1], 0.95, 1)],
    ['futility', () => futilityBounds([0.5, 1], 0.95, 0.01)],
    ['design', () => groupSequentialDesign({ looks: 0, confidenceLevel: 0.95, power: 0.8 })],
  ])('of %s refuse a figure outside its range', (_, compute) => {
    expect(compute).toThrow(RangeError)
  })

  test('of one look is the fixed test, and of clamped fractions the planned one', () => {
    inOrder(efficacyBounds([1], 0.95).zBounds, [1.959963984540054], 9)
    inOrder(groupSequentialBounds([0.5, 1.2], 0.95, 'obrien_fleming').zBounds, efficacyBounds([0.5, 1], 0.95).zBounds)
  })
})

describe('simulated experiments', () => {
  const RUNS = 100_000
  /** Three standard errors of a simulated probability. */
  const slack = (probability: number) => 3 * Math.sqrt((probability * (1 - probability)) / RUNS)

  /** Counts how experiments end: significantly good, significantly bad, or stopped for futility where it is obeyed. */
  function simulate(fractions: readonly number[], drift: number, isFutilityObeyed: boolean, seed: number) {
    const { zBounds } = efficacyBounds(fractions, 0.95)
    const futility = futilityBounds(fractions, 0.95, 0.8, 5)
    const { normal } = createRandom(seed)
    const ends = { good: 0, harm: 0, futility: 0, fractions: 0 }
    for (let run = 0; run < RUNS; run++) {
      let [score, before] = [0, 0]
      for (const [look, time] of fractions.entries()) {
        score += drift * (time - before) + normal() * Math.sqrt(time - before)
        before = time
        const z = score / Math.sqrt(time)
        if (z >= (zBounds[look] as number)) ends.good++
        else if (z <= -(zBounds[look] as number)) ends.harm++
        else if (isFutilityObeyed && z < (futility[look] as number)) ends.futility++
        else continue
        break
      }
      ends.fractions += before
    }
    return {
      good: ends.good / RUNS,
      harm: ends.harm / RUNS,
      futility: ends.futility / RUNS,
      mean: ends.fractions / RUNS,
    }
  }

  test.each([
    { fractions: equalFractions(5), seed: 1 },
    { fractions: [0.13, 0.5, 0.55, 0.9, 1.21], seed: 2 },
    { fractions: [0.37, 1.05], seed: 3 },
  ])('raise false alarms in 5 % of the runs if futility is ignored, at $fractions', ({ fractions, seed }) => {
    const { good, harm } = simulate(fractions, 0, false, seed)
    expect(Math.abs(good + harm - 0.05)).toBeLessThan(slack(0.05))
  })

  test('find the planned effect with the planned power, after as many users as expected', () => {
    const design = groupSequentialDesign({ confidenceLevel: 0.95, power: 0.8 })
    const found = simulate(equalFractions(5), design.drift, true, 4)
    expect(Math.abs(found.good - 0.8)).toBeLessThan(slack(0.8))
    expect(found.mean * design.inflation).toBeCloseTo(design.expectedUnderEffect, 2)
    const none = simulate(equalFractions(5), 0, true, 5)
    expect(none.good + none.harm).toBeLessThan(0.05)
    expect(none.mean * design.inflation).toBeCloseTo(design.expectedUnderNull, 2)
    const stopped = design.looks.reduce((sum, { underNull }) => sum + underNull.futility, 0)
    expect(Math.abs(none.futility - stopped)).toBeLessThan(slack(stopped))
  })
})
