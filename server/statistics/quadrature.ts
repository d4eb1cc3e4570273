/** Gauss-Legendre quadrature for integrals without a closed form. */

const NODES = 64
/** Distances of the breakpoints from a mean, to each side, in standard deviations. */
const BREAKPOINT_DISTANCES = [0, 1, 2, 4, 6, 8, 12, 20, 40]

/** Computes nodes and weights on [-1, 1], by Newton's method on the Legendre polynomial. @param nodes their number */
export const quadratureRule = (nodes: number): { x: number; weight: number }[] =>
  Array.from({ length: nodes }, (_, index) => {
    let x = Math.cos((Math.PI * (index + 0.75)) / (nodes + 0.5))
    for (;;) {
      const { value, slope } = legendre(nodes, x)
      const step = value / slope
      x -= step
      if (Math.abs(step) < 1e-15) return { x, weight: 2 / ((1 - x ** 2) * legendre(nodes, x).slope ** 2) }
    }
  })

/** Computes the Legendre polynomial and its derivative, by the three-term recurrence. */
function legendre(degree: number, x: number): { value: number; slope: number } {
  let previous = 1
  let value = x
  for (let of = 2; of <= degree; of++) {
    const next = ((2 * of - 1) * x * value - (of - 1) * previous) / of
    previous = value
    value = next
  }
  return { value, slope: (degree * (x * value - previous)) / (x ** 2 - 1) }
}

const rule = quadratureRule(NODES)

/**
 * Integrates f over the subintervals between consecutive breakpoints.
 * @param breakpoints ascending
 */
export function integrate(f: (x: number) => number, breakpoints: readonly number[]): number {
  let total = 0
  for (let index = 1; index < breakpoints.length; index++) {
    const from = breakpoints[index - 1] as number
    const half = ((breakpoints[index] as number) - from) / 2
    if (half <= 0) continue
    let sum = 0
    for (const { x, weight } of rule) sum += weight * f(from + half * (1 + x))
    total += half * sum
  }
  return total
}

/**
 * Returns the nodes and weights of all subintervals between consecutive breakpoints. Use it if a function is needed at
 * the same nodes again.
 * @param breakpoints ascending
 */
export function nodesBetween(breakpoints: readonly number[]): { x: number; weight: number }[] {
  return breakpoints.slice(1).flatMap((to, index) => {
    const from = breakpoints[index] as number
    const half = (to - from) / 2
    return rule.map(({ x, weight }) => ({ x: from + half * (1 + x), weight: half * weight }))
  })
}

/**
 * Returns breakpoints around each mean, at multiples of its standard deviation.
 * @returns ascending, from the lower to the upper bound
 */
export function breakpointsAround(
  distributions: readonly { mean: number; sd: number }[],
  [lower, upper]: readonly [number, number],
): number[] {
  const candidates = distributions.flatMap(({ mean, sd }) =>
    BREAKPOINT_DISTANCES.flatMap((count) => [mean - count * sd, mean + count * sd]),
  )
  const within = [lower, ...candidates.filter((candidate) => candidate > lower && candidate < upper), upper].filter(
    Number.isFinite,
  )
  return [...new Set(within)].sort((one, other) => one - other)
}
