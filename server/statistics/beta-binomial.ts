import { betaCdf, betaQuantile, betaSf, logBeta } from './distributions.ts'
import { checkProportion, criticalValue, type Interval, type Proportion } from './proportion.ts'
import { cutsAround, integrate, nodesBetween } from './quadrature.ts'

/** Bayesian conversion rates, reached from the laboratory. */

/** A Beta distribution: of a conversion rate, before or after data. */
export type Beta = { a: number; b: number }

/** Shares of 1; the losses are in conversions per user. */
type RatePosteriors = {
  control: RatePosterior
  treatment: RatePosterior
  probabilityTreatmentBetter: number
  expectedDifference: number
  expectedLossTreatment: number
  expectedLossControl: number
}
export type RatePosterior = { mean: number; interval: Interval }

const FLAT: Beta = { a: 1, b: 1 }

/**
 * Conversion rates of two variants after their data: who is better, how probably, and what a wrong choice costs.
 * @param credibility of the intervals, 0 < credibility < 1
 * @param prior of both rates; the flat one unless given. Without users it is the posterior
 */
export function ratePosteriors(
  control: Proportion,
  treatment: Proportion,
  credibility: number,
  prior: Beta = FLAT,
): RatePosteriors {
  checkProportion(control)
  checkProportion(treatment)
  criticalValue(credibility)
  if (!(prior.a > 0 && prior.b > 0)) throw new RangeError('Both parameters of a Beta prior must be above 0')
  const [c, t] = [control, treatment].map(({ exposed, converted }) => ({
    a: prior.a + converted,
    b: prior.b + exposed - converted,
  })) as [Beta, Beta]
  // Positive integrands: a difference of two moments would cancel.
  const lossOf = (chosen: Beta, other: Beta) =>
    integrateRates([c, t], (x) => betaCdf(x, chosen.a, chosen.b) * betaSf(x, other.a, other.b))
  return {
    control: posteriorOf(c, credibility),
    treatment: posteriorOf(t, credibility),
    probabilityTreatmentBetter: betaExpectation(t, [c, t], (x) => betaCdf(x, c.a, c.b)),
    expectedDifference: betaMean(t) - betaMean(c),
    expectedLossTreatment: lossOf(t, c),
    expectedLossControl: lossOf(c, t),
  }
}

const betaMean = ({ a, b }: Beta) => a / (a + b)

function posteriorOf({ a, b }: Beta, credibility: number): RatePosterior {
  const tail = (1 - credibility) / 2
  return { mean: betaMean({ a, b }), interval: [betaQuantile(tail, a, b), betaQuantile(1 - tail, a, b)] }
}

/** Pieces in u, where the rate is sin(u)^2: that takes away the poles that a Beta with a parameter below 1 has. */
function cuts(rates: readonly Beta[]): number[] {
  const distributions = rates.map(({ a, b }) => ({
    mean: a / (a + b),
    sd: Math.sqrt(((a / (a + b)) * (b / (a + b))) / (a + b + 1)),
  }))
  return cutsAround(distributions, [0, 1]).map((rate) => Math.asin(Math.sqrt(rate)))
}

/** The integral of a function of the rate over [0, 1]. */
function integrateRates(rates: readonly Beta[], f: (rate: number) => number): number {
  return integrate((u) => f(Math.sin(u) ** 2) * Math.sin(2 * u), cuts(rates))
}

/**
 * The expectation of a function of a rate that is itself from 0 to 1.
 * @param around the distributions that the function is made of: where it bends, pieces are cut
 */
export function betaExpectation({ a, b }: Beta, around: readonly Beta[], f: (rate: number) => number): number {
  const scale = Math.log(2) - logBeta(a, b)
  let whole = 0
  let sum = 0
  for (const { x: u, weight } of nodesBetween(cuts(around))) {
    const log = scale + (2 * a - 1) * Math.log(Math.sin(u)) + (2 * b - 1) * Math.log(Math.cos(u))
    const mass = weight * Math.exp(log)
    if (mass === 0) continue
    whole += mass
    sum += mass * f(Math.sin(u) ** 2)
  }
  // Of millions of users the density has an error of 1e-10, the same in both sums.
  return Math.min(1, sum / whole)
}
