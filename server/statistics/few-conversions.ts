import { betaCdf, betaSf, logBeta } from './distributions.ts'
import type { Interval, Proportion } from './proportion.ts'
import { quadratureRule } from './quadrature.ts'
import { decreasingRoot } from './root.ts'

/**
 * The posterior of the difference of two conversion rates, one of which may have few conversions. The rates have
 * independent posteriors, Beta(1 + x, 1 + n - x). The distribution function of a rate with few conversions is a short
 * sum, and one quadrature over the other rate gives every figure.
 */

/** Differences are treatment - control, in shares of 1. */
type DifferencePosterior = {
  /** Posterior probability that the treatment has the higher rate. */
  probabilityHigher: number
  /** Equal-tailed credible interval of the difference. */
  interval: Interval
  /** The expectation of the difference where it is above 0, and of its size where it is below 0; else 0 counts. */
  expectedGain: number
  expectedLoss: number
}

/** Nodes of each subinterval, and the ends of subintervals in standard deviations from the mean. */
const RULE = quadratureRule(10)
const ENDS = [-9, -5, -2.5, 0, 2.5, 5, 9, 16, 27, 42]
/** A Beta distribution with a whole parameter up to this is summed up; above, the incomplete beta function is faster. */
const MOST_TERMS = 40

/**
 * Computes the posterior of the difference of two rates under uniform priors.
 * @param credibility probability of the credible interval, 0 < credibility < 1
 * @see docs/inference.md, "Bayesian analysis"
 */
export function fewConversionsPosterior(
  control: Proportion,
  treatment: Proportion,
  credibility: number,
): DifferencePosterior {
  const [c, t] = [betaOf(control), betaOf(treatment)]
  // The quadrature runs over the narrower distribution, beside which the other one is smooth.
  const swaps = deviationOf(c) > deviationOf(t)
  const [wide, narrow] = swaps ? [c, t] : [t, c]
  /** P(wide - narrow > difference) */
  const exceeds = (difference: number) => expect(narrow, wide, difference, upperTail) + below(narrow, -difference)
  const centre = meanOf(wide) - meanOf(narrow)
  const spread = Math.hypot(deviationOf(wide), deviationOf(narrow))
  const tail = (1 - credibility) / 2
  const quantile = (probability: number, sign: number) =>
    decreasingRoot(
      (difference) => Math.log(exceeds(difference) / probability),
      Math.max(-0.999, Math.min(0.999, centre + sign * 2 * spread)),
      { point: -1, value: Infinity },
      { point: 1, value: -Infinity },
      spread,
    )
  const [lower, upper] = [quantile(1 - tail, -1), quantile(tail, 1)]
  const higher = exceeds(0)
  const gain = expect(narrow, wide, 0, excess)
  const loss = Math.max(0, gain - centre)
  return swaps
    ? { probabilityHigher: Math.max(0, 1 - higher), interval: [-upper, -lower], expectedGain: loss, expectedLoss: gain }
    : {
        probabilityHigher: Math.min(1, Math.max(0, higher)),
        interval: [lower, upper],
        expectedGain: gain,
        expectedLoss: loss,
      }
}

type Beta = { a: number; b: number; mean: number; deviation: number }

function betaOf({ exposed, converted }: Proportion): Beta {
  const [a, b] = [1 + converted, 1 + exposed - converted]
  return { a, b, mean: a / (a + b), deviation: Math.sqrt(((a / (a + b)) * (b / (a + b))) / (a + b + 1)) }
}
const meanOf = ({ mean }: Beta) => mean
const deviationOf = ({ deviation }: Beta) => deviation

/** P(X <= x) */
const below = ({ a, b }: Beta, x: number) => (x <= 0 ? 0 : betaCdf(Math.min(1, x), a, b))

/**
 * Integrates density(rate) f(rate + shift) over the rates at which rate + shift is a rate, too. The substitution rate =
 * sin² u makes the density smooth at the ends.
 */
function expect(
  { a, b, mean, deviation }: Beta,
  other: Beta,
  shift: number,
  f: (beta: Beta, rate: number) => number,
): number {
  const [least, most] = [Math.max(0, -shift), Math.min(1, 1 - shift)]
  const scale = -logBeta(a, b)
  let total = 0
  let from = Math.asin(Math.sqrt(Math.min(most, Math.max(least, mean + (ENDS[0] as number) * deviation))))
  for (let piece = 1; piece < ENDS.length; piece++) {
    const end = Math.min(most, Math.max(least, mean + (ENDS[piece] as number) * deviation))
    const to = Math.asin(Math.sqrt(end))
    const half = (to - from) / 2
    if (half > 0)
      for (const { x, weight } of RULE) {
        const rate = Math.sin(from + half * (1 + x)) ** 2
        const logDensity = scale + (a - 0.5) * Math.log(rate) + (b - 0.5) * Math.log1p(-rate)
        if (logDensity > -60) total += 2 * half * weight * Math.exp(logDensity) * f(other, rate + shift)
      }
    from = to
  }
  return total
}

/** Computes P(X > x): the probability of less than a successes in a + b - 1 trials. */
function upperTail({ a, b }: Beta, x: number): number {
  if (a > MOST_TERMS) return betaSf(x, a, b)
  const trials = a + b - 1
  const odds = x / (1 - x)
  let term = Math.exp(trials * Math.log1p(-x))
  let sum = term
  for (let successes = 1; successes < a; successes++) {
    term *= ((trials - successes + 1) / successes) * odds
    sum += term
  }
  return Math.min(1, sum)
}

/**
 * Computes E[max(0, X - x)], the integral of P(X > u) over u above x. A sum of positive terms does not cancel where the
 * expectation is small.
 */
function excess(beta: Beta, x: number): number {
  const { a, b } = beta
  if (a > MOST_TERMS) return Math.max(0, (a / (a + b)) * betaSf(x, a + 1, b) - x * betaSf(x, a, b))
  const trials = a + b
  const odds = x / (1 - x)
  let term = Math.exp(trials * Math.log1p(-x))
  let sum = a * term
  for (let successes = 1; successes < a; successes++) {
    term *= ((trials - successes + 1) / successes) * odds
    sum += (a - successes) * term
  }
  return sum / trials
}
