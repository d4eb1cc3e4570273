import { betaCdf, betaQuantile, betaSf, logBeta } from './distributions.ts'
import { checkProportion, criticalValue, type Interval, type Proportion } from './proportion.ts'
import { breakpointsAround, integrate, nodesBetween } from './quadrature.ts'

/** Bayesian inference on conversion rates, for the laboratory. */

/** The Beta(a, b) distribution of a conversion rate: a prior or a posterior. */
export type Beta = { a: number; b: number }

/** Rates, differences and probabilities are shares of 1. Losses are in conversions per user. */
type RatePosteriors = {
  control: RatePosterior
  treatment: RatePosterior
  probabilityTreatmentBetter: number
  expectedDifference: number
  expectedLossTreatment: number
  expectedLossControl: number
}
export type RatePosterior = { mean: number; interval: Interval }

const UNIFORM_PRIOR: Beta = { a: 1, b: 1 }

/**
 * Computes the posteriors of two conversion rates, the probability that the treatment's rate is the higher one, and the
 * expected loss of choosing each variant.
 * @param credibility probability of each equal-tailed credible interval, 0 < credibility < 1
 * @param prior prior distribution of both rates. A variant without users keeps the prior as its posterior
 * @throws RangeError for impossible counts, a credibility outside (0, 1), or a prior parameter that is not above 0
 * @see docs/inference.md, "Bayesian analysis"
 */
export function ratePosteriors(
  control: Proportion,
  treatment: Proportion,
  credibility: number,
  prior: Beta = UNIFORM_PRIOR,
): RatePosteriors {
  checkProportion(control)
  checkProportion(treatment)
  criticalValue(credibility)
  if (!(prior.a > 0 && prior.b > 0)) throw new RangeError('Both parameters of a Beta prior must be above 0')
  const [c, t] = [control, treatment].map(({ exposed, converted }) => ({
    a: prior.a + converted,
    b: prior.b + exposed - converted,
  })) as [Beta, Beta]
  // The integrand F_chosen (1 - F_other) is positive. A difference of two moments would cancel.
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

/**
 * Returns breakpoints in u, where the rate is sin(u)^2. This substitution removes the poles of a Beta density with a
 * parameter below 1.
 */
function breakpoints(rates: readonly Beta[]): number[] {
  const distributions = rates.map(({ a, b }) => ({
    mean: a / (a + b),
    sd: Math.sqrt(((a / (a + b)) * (b / (a + b))) / (a + b + 1)),
  }))
  return breakpointsAround(distributions, [0, 1]).map((rate) => Math.asin(Math.sqrt(rate)))
}

/** Integrates a function of the rate over [0, 1]. */
function integrateRates(rates: readonly Beta[], f: (rate: number) => number): number {
  return integrate((u) => f(Math.sin(u) ** 2) * Math.sin(2 * u), breakpoints(rates))
}

/**
 * Computes the expectation of f(rate), where the rate has a Beta distribution. The method is quadrature.
 * @param around distributions that f is made of. The breakpoints of the quadrature lie around their means
 * @param f function of the rate with values in [0, 1]
 * @see docs/inference.md, "Bayesian analysis"
 */
export function betaExpectation({ a, b }: Beta, around: readonly Beta[], f: (rate: number) => number): number {
  const scale = Math.log(2) - logBeta(a, b)
  let totalMass = 0
  let sum = 0
  for (const { x: u, weight } of nodesBetween(breakpoints(around))) {
    const logDensity = scale + (2 * a - 1) * Math.log(Math.sin(u)) + (2 * b - 1) * Math.log(Math.cos(u))
    const mass = weight * Math.exp(logDensity)
    if (mass === 0) continue
    totalMass += mass
    sum += mass * f(Math.sin(u) ** 2)
  }
  // With millions of users the density has an error of 1e-10. The error is the same in both sums, so the division
  // removes it.
  return Math.min(1, sum / totalMass)
}
