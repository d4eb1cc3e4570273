/** Gauss-Legendre quadrature, for integrals that have no closed form; reached from the laboratory. */

const NODES = 64
/** Where pieces are cut: this many standard deviations to each side of a mean. */
const CUTS = [0, 1, 2, 4, 6, 8, 12, 20, 40]

/** Places and weights on [-1, 1], by Newton's method on the Legendre polynomial. */
const rule = Array.from({ length: NODES }, (_, index) => {
  let x = Math.cos((Math.PI * (index + 0.75)) / (NODES + 0.5))
  for (;;) {
    const { value, slope } = legendre(x)
    const step = value / slope
    x -= step
    if (Math.abs(step) < 1e-15) return { x, weight: 2 / ((1 - x ** 2) * legendre(x).slope ** 2) }
  }
})

/** The Legendre polynomial of degree NODES and its derivative, by the recurrence of three terms. */
function legendre(x: number): { value: number; slope: number } {
  let previous = 1
  let value = x
  for (let degree = 2; degree <= NODES; degree++) {
    const next = ((2 * degree - 1) * x * value - (degree - 1) * previous) / degree
    previous = value
    value = next
  }
  return { value, slope: (NODES * (x * value - previous)) / (x ** 2 - 1) }
}

/** The integral over the pieces between consecutive bounds, which ascend. */
export function integrate(f: (x: number) => number, bounds: readonly number[]): number {
  let whole = 0
  for (let piece = 1; piece < bounds.length; piece++) {
    const from = bounds[piece - 1] as number
    const half = ((bounds[piece] as number) - from) / 2
    if (half <= 0) continue
    let sum = 0
    for (const { x, weight } of rule) sum += weight * f(from + half * (1 + x))
    whole += half * sum
  }
  return whole
}

/**
 * Places and weights over the pieces between consecutive bounds, for a function that is needed at the same places
 * again.
 */
export function nodesBetween(bounds: readonly number[]): { x: number; weight: number }[] {
  return bounds.slice(1).flatMap((to, piece) => {
    const from = bounds[piece] as number
    const half = (to - from) / 2
    return rule.map(({ x, weight }) => ({ x: from + half * (1 + x), weight: half * weight }))
  })
}

/** Ascending bounds of pieces around means, each in proportion to its standard deviation, kept within a range. */
export function cutsAround(
  distributions: readonly { mean: number; sd: number }[],
  [lower, upper]: readonly [number, number],
): number[] {
  const cuts = distributions.flatMap(({ mean, sd }) => CUTS.flatMap((count) => [mean - count * sd, mean + count * sd]))
  const within = [lower, ...cuts.filter((cut) => cut > lower && cut < upper), upper].filter(Number.isFinite)
  return [...new Set(within)].sort((one, other) => one - other)
}
