/**
 * Distribution functions. Only this file imports @stdlib, so the library can be replaced in one place. Upper tails
 * (`Sf`, "survival function") are computed directly, never as 1 - cdf: they stay exact down to 1e-300. See
 * docs/statistics.md, "Distribution functions".
 */
import betainc from '@stdlib/math-base-special-betainc'
import betaln from '@stdlib/math-base-special-betaln'
import erfc from '@stdlib/math-base-special-erfc'
import erfcinv from '@stdlib/math-base-special-erfcinv'
import gammainc from '@stdlib/math-base-special-gammainc'
import gammaln from '@stdlib/math-base-special-gammaln'
import stdlibBetaCdf from '@stdlib/stats-base-dists-beta-cdf'
import stdlibBetaQuantile from '@stdlib/stats-base-dists-beta-quantile'
import stdlibStudentQuantile from '@stdlib/stats-base-dists-t-quantile'

/** P(Z <= z) of the standard normal distribution. */
export function normalCdf(z: number): number {
  return erfc(-z / Math.SQRT2) / 2
}

/** P(Z > z) of the standard normal distribution. */
export function normalSf(z: number): number {
  return erfc(z / Math.SQRT2) / 2
}

/** Density of the standard normal distribution. */
export function normalDensity(z: number): number {
  return Math.exp(-(z ** 2) / 2) / Math.sqrt(2 * Math.PI)
}

/**
 * Quantile of the standard normal distribution: the z with P(Z <= z) = p.
 * @returns -Infinity at p = 0, Infinity at p = 1, NaN outside [0, 1]
 */
export function normalQuantile(p: number): number {
  return p <= 0.5 ? 0 - Math.SQRT2 * erfcinv(2 * p) : Math.SQRT2 * erfcinv(2 * (1 - p))
}

/**
 * P(T > t) of Student's t distribution. One of two forms is used, so that neither the tail nor the centre cancels.
 * @param degreesOfFreedom above 0, may be fractional; Infinity gives the normal distribution
 */
export function studentSf(t: number, degreesOfFreedom: number): number {
  if (degreesOfFreedom === Infinity) return normalSf(t)
  if (t < 0) return 1 - studentSf(-t, degreesOfFreedom)
  const x = degreesOfFreedom / (degreesOfFreedom + t ** 2)
  const y = 1 / (1 + degreesOfFreedom / t ** 2)
  return y > 0.5 ? betainc(x, degreesOfFreedom / 2, 0.5) / 2 : betainc(y, 0.5, degreesOfFreedom / 2, true, true) / 2
}

/**
 * Quantile of Student's t distribution: the t with P(T <= t) = p.
 * @param degreesOfFreedom above 0, may be fractional; Infinity gives the normal distribution
 * @returns -Infinity at p = 0, Infinity at p = 1
 */
export function studentQuantile(p: number, degreesOfFreedom: number): number {
  return degreesOfFreedom === Infinity ? normalQuantile(p) : stdlibStudentQuantile(p, degreesOfFreedom)
}

/** P(X <= x) of the Beta(a, b) distribution. */
export function betaCdf(x: number, a: number, b: number): number {
  return stdlibBetaCdf(x, a, b)
}

/** P(X > x) of the Beta(a, b) distribution; 1 at and below 0, 0 at and above 1. */
export function betaSf(x: number, a: number, b: number): number {
  if (x <= 0) return 1
  if (x >= 1) return 0
  return betainc(x, a, b, true, true)
}

/** Quantile of the Beta(a, b) distribution: the x with P(X <= x) = p. */
export function betaQuantile(p: number, a: number, b: number): number {
  return stdlibBetaQuantile(p, a, b)
}

/** P(X > x) of the chi-square distribution; 1 at and below 0. */
export function chiSquareSf(x: number, degreesOfFreedom: number): number {
  return x <= 0 ? 1 : gammainc(x / 2, degreesOfFreedom / 2, true, true)
}

/**
 * ln B(a, b), the logarithm of the beta function. A difference of three log gammas would lose nine digits at a = 1e9.
 */
export function logBeta(a: number, b: number): number {
  return betaln(a, b)
}

/** Logarithm of the gamma function; ln (n!) is logGamma(n + 1). */
export function logGamma(x: number): number {
  return gammaln(x)
}

/**
 * Error of Stirling's formula: logGamma(x) = (x - 1/2) ln x - x + ln(2π)/2 + stirlingError(x). A sum of log gammas
 * whose large parts cancel is written with this error, and so keeps the digits that differences of log gammas lose.
 * @param x above 0
 * @see Loader (2000), Fast and accurate computation of binomial probabilities
 */
export function stirlingError(x: number): number {
  if (x < 10) return logGamma(x) - (x - 0.5) * Math.log(x) + x - Math.log(2 * Math.PI) / 2
  const inverse = 1 / x ** 2
  const series = [1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360_360, 1 / 156, -3617 / 122_400]
  return series.reduceRight((rest, coefficient) => coefficient + inverse * rest, 0) / x
}

/**
 * Deviance term: observed ln(observed / expected) - observed + expected. The term is at least 0, and exact even if
 * observed and expected are close.
 * @param expected above 0
 * @param difference observed - expected, if it is known to more digits than the two numbers
 * @see Loader (2000), Fast and accurate computation of binomial probabilities
 */
export function devianceTerm(observed: number, expected: number, difference = observed - expected): number {
  if (observed === 0) return expected
  if (Math.abs(difference) > 0.1 * (observed + expected)) return observed * Math.log(observed / expected) - difference
  const ratio = difference / (observed + expected)
  let power = 2 * observed * ratio
  let total = difference * ratio
  for (let odd = 3; odd < 40; odd += 2) {
    power *= ratio ** 2
    total += power / odd
  }
  return total
}
