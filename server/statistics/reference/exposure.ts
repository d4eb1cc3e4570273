/**
 * Verified reference: selects the events that count for each user, from rows alone, by the rule that the running totals
 * follow.
 */

/** Times are in milliseconds since 1970, UTC. */
type AssignmentRow = { user: string; variant: string; at: number }
/** Repeated deliveries of one event have the same id. null means that the event has no id. */
type EventRow = { user: string; type: string; value: number; at: number; id?: string | null }

export type UserMetric = {
  /** The value of a user: 1 if the user has an event; the number of events; or the sum of the events' values. */
  type: 'proportion' | 'count' | 'revenue'
  event: string
  /** Length of the window after the exposure in which events count; null means until the end. */
  windowMs: number | null
  /** Leaves out users whose window is not over yet. */
  requireCompleteWindow: boolean
}

type ExposedSums = { n: number; sum: number; sumSq: number }
export type ExposureResult = { variants: Map<string, ExposedSums>; crossovers: number; immature: number }

/**
 * Computes the sums of each variant from assignments and events. Only times decide which events count, never the order
 * of the rows. Users without events count with 0.
 * @param asOf time in milliseconds; rows at or after this time are ignored
 * @param crossovers excludes users of two variants, or counts them in their first variant
 * @returns `crossovers` counts the users of several variants, `immature` the users whose window is not over
 * @see docs/comparisons.md, "From events to users"
 */
export function exposedSums(
  assignments: readonly AssignmentRow[],
  events: readonly EventRow[],
  variants: readonly string[],
  metric: UserMetric,
  asOf: number,
  crossovers: 'exclude' | 'first' = 'exclude',
): ExposureResult {
  const exposures = exposuresOf(assignments.filter(({ at }) => at < asOf))
  const totals = new Map<string, number>()
  let crossoverUsers = 0
  let immature = 0
  for (const [user, { at, variantIds }] of exposures) {
    const isCrossover = variantIds.size > 1
    if (isCrossover) crossoverUsers++
    if (isCrossover && crossovers === 'exclude') continue
    if (metric.requireCompleteWindow && at + (metric.windowMs ?? 0) > asOf) immature++
    else totals.set(user, 0)
  }
  const seen = new Set<string>()
  for (const { user, type, value, at, id } of events) {
    const exposure = exposures.get(user)
    const total = totals.get(user)
    if (total === undefined || !exposure || type !== metric.event || at < exposure.at || at >= asOf) continue
    if (metric.windowMs !== null && at >= exposure.at + metric.windowMs) continue
    if (id != null) {
      const key = `${user.length}:${user}${id}`
      if (seen.has(key)) continue
      seen.add(key)
    }
    totals.set(user, metric.type === 'proportion' ? 1 : total + (metric.type === 'count' ? 1 : value))
  }
  const sums = new Map(variants.map((variant) => [variant, { n: 0, sum: 0, sumSq: 0 }]))
  for (const [user, total] of totals) {
    const variant = sums.get(exposures.get(user)?.variant ?? '')
    if (!variant) continue
    variant.n++
    variant.sum += total
    variant.sumSq += total ** 2
  }
  return { variants: sums, crossovers: crossoverUsers, immature }
}

/**
 * Computes `exposedSums` for the end of each day. Each day is computed anew. Sums of several days must not be added,
 * because a day's sum of squares contains the square of each user's total so far.
 * @param dayEnds times in milliseconds
 * @see docs/comparisons.md, "From events to users"
 */
export function dailySums(
  assignments: readonly AssignmentRow[],
  events: readonly EventRow[],
  variants: readonly string[],
  metric: UserMetric,
  dayEnds: readonly number[],
): ExposureResult[] {
  return dayEnds.map((end) => exposedSums(assignments, events, variants, metric, end))
}

/** Returns the earliest assignment of each user, and all variants that the user was ever assigned. */
function exposuresOf(assignments: readonly AssignmentRow[]) {
  const exposures = new Map<string, { at: number; variant: string; variantIds: Set<string> }>()
  for (const { user, variant, at } of assignments) {
    const exposure = exposures.get(user)
    if (!exposure) exposures.set(user, { at, variant, variantIds: new Set([variant]) })
    else {
      exposure.variantIds.add(variant)
      if (at < exposure.at) Object.assign(exposure, { at, variant })
    }
  }
  return exposures
}
