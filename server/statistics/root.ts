/** A point, and the value of a function at this point. */
type Point = { point: number; value: number }

/** The last step of a secant search, relative to the whole way. The error of the next point is its square or less. */
const LAST_STEP = 1e-8
const MOST_STEPS = 100

/**
 * Finds the root of a decreasing function by the secant method, and by bisection where a secant leaves the bracket. A
 * good guess takes about five steps.
 * @param guess a point between `above` and `below`
 * @param above a point at which the function is above 0; the point and the value may be infinite
 * @param below a point at which the function is below 0; the point and the value may be infinite
 */
export function decreasingRoot(f: (x: number) => number, guess: number, above: Point, below: Point): number {
  let [left, right] = [above, below]
  let previous = Number.isFinite(below.point) && Number.isFinite(below.value) ? below : null
  let next = guess
  const way = Math.abs(guess - (Number.isFinite(below.point) ? below.point : 0))
  let reach = 1
  for (let step = 0; step < MOST_STEPS; step++) {
    const current = { point: next, value: f(next) }
    if (current.value === 0) return next
    if (current.value > 0) left = current
    else right = current
    const slope = previous && (current.value - previous.value) / (current.point - previous.point)
    const secant = slope ? current.point - current.value / slope : Number.NaN
    previous = Number.isFinite(current.value) ? current : null
    if (secant > left.point && secant < right.point && Math.abs(secant - current.point) <= reach) next = secant
    else if (Number.isFinite(left.point) && Number.isFinite(right.point)) next = (left.point + right.point) / 2
    else next = current.point + (current.value > 0 ? reach : -reach)
    reach *= 2
    if (Math.abs(next - current.point) <= LAST_STEP * way) return next
  }
  return next
}
