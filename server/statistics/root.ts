/** A point, and the value of a function at this point. */
type Point = { point: number; value: number }

/** The last step of a search, relative to the scale of the root. The error of the next point is far smaller. */
const LAST_STEP = 1e-8
const MOST_STEPS = 100

/**
 * Finds the root of a decreasing function by the secant method, and by bisection where a secant leaves the bracket. A
 * good guess takes about five steps.
 * @param guess a point between `above` and `below`
 * @param above a point at which the function is above 0; the point and the value may be infinite
 * @param below a point at which the function is below 0; the point and the value may be infinite
 * @param scale a distance over which the function changes considerably
 */
export function decreasingRoot(
  f: (x: number) => number,
  guess: number,
  above: Point,
  below: Point,
  scale = Math.abs(guess - (Number.isFinite(below.point) ? below.point : 0)),
): number {
  let [left, right] = [above, below]
  let previous = Number.isFinite(below.value) && Math.abs(below.point - guess) < 10 * scale ? below : null
  let next = guess
  // Without a second point, the search takes a short step first.
  let reach = previous ? 4 * scale : scale / 4
  for (let step = 0; step < MOST_STEPS; step++) {
    const current = { point: next, value: f(next) }
    if (current.value === 0) return next
    if (current.value > 0) left = current
    else right = current
    const slope = previous && (current.value - previous.value) / (current.point - previous.point)
    const secant = slope ? current.point - current.value / slope : Number.NaN
    previous = Number.isFinite(current.value) ? current : null
    const isInside = (point: number) => point > left.point && point < right.point
    const further = current.point + (current.value > 0 ? reach : -reach)
    if (isInside(secant) && Math.abs(secant - current.point) <= reach) next = secant
    else if (isInside(further) && !(step > 0 && areFinite(left, right))) next = further
    else next = (left.point + right.point) / 2
    reach *= 2
    if (Math.abs(next - current.point) <= LAST_STEP * scale) return next
  }
  return next
}

const areFinite = (...points: Point[]) => points.every(({ point }) => Number.isFinite(point))
