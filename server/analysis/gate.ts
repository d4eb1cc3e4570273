import { expectedEvents } from '../statistics/evidence.ts'
import { comparablePeriods } from '../statistics/periods.ts'
import type { Cell, CellOf } from './cells.ts'
import { type Gate, LEAST_USERS } from './metric-result.ts'
import type { Kind, RunStatistics, Variant } from './statistics.ts'

/** Tells whether a comparison has enough users and events to be read by an approximate test. */

/** The fewest expected conversions per variant, and expected users without one, at which a rate is read. */
const LEAST_CONVERSIONS = 10
/** The fewest expected users with a value other than 0 per variant, at which any other metric is read. */
const LEAST_VALUES = 25

/**
 * The expected users with a value at which a variant need not have `LEAST_VALUES` of them. So few of so many are an
 * effect, which a gate must not hide; fewer expected users may be rare large values, whose variance is not known.
 */
const ENOUGH_VALUES = 4 * LEAST_VALUES

/** The users and events on which a comparison rests. */
type Counts = { control: number; treatment: number }
export type Support = {
  users: Counts
  /**
   * Users with a value other than 0, and the expected ones if the variants do not differ; null where the kind does not
   * need any.
   */
  events: { expected: Counts; observed: Counts } | null
}

/**
 * Returns what a comparison lacks, events first; null where the comparison may be read.
 * @param isPlainRate the comparison is one of rates that no covariate adjusts
 */
export function gateOf(
  { users, events }: Support,
  [control, treatment]: readonly [Variant, Variant],
  isPlainRate: boolean,
): Gate | null {
  const needed = isPlainRate ? LEAST_CONVERSIONS : LEAST_VALUES
  const least = ({ control, treatment }: Counts) => Math.min(control, treatment)
  const weaker = (counts: Counts) =>
    counts.control < counts.treatment
      ? { variantId: control.variantId, count: Math.floor(counts.control) }
      : { variantId: treatment.variantId, count: Math.floor(counts.treatment) }
  // Rounding must not close the gate at exactly the needed number.
  if (events && least(events.expected) < needed * (1 - 1e-12))
    return { ...weaker(events.expected), lacks: 'events', needed, blocksFixed: !isPlainRate }
  if (events && !isPlainRate && least(events.observed) < LEAST_VALUES && least(events.expected) < ENOUGH_VALUES)
    return { ...weaker(events.observed), lacks: 'events', needed, blocksFixed: true }
  if (least(users) < LEAST_USERS)
    return { ...weaker(users), lacks: 'users', needed: LEAST_USERS, blocksFixed: !isPlainRate }
  return null
}

/** Names what a comparison lacks: "too few events in treatment (7 of 10)". */
export function gateReason({ variantId, lacks, count, needed }: Gate, variants: readonly Variant[]): string {
  const name = variants.find((variant) => variant.variantId === variantId)?.variantName ?? String(variantId)
  return `too few ${lacks} in ${name} (${count} of ${needed})`
}

/** Counts the users and the expected events of two variants over the periods that the comparison uses. */
export function supportOf(
  { variants, periods }: RunStatistics,
  cellOf: CellOf,
  [control, treatment]: readonly [Variant, Variant],
  kind: Kind,
): Support {
  const strata = periods.map(({ period }) => ({
    users: variants.reduce((sum, { variantId }) => sum + cellOf(variantId, period).n, 0),
    control: countsOf(cellOf(control.variantId, period), kind),
    treatment: countsOf(cellOf(treatment.variantId, period), kind),
  }))
  const { used } = comparablePeriods(strata)
  const total = (side: 'control' | 'treatment', count: 'n' | 'events') =>
    used.reduce((sum, { [side]: counts }) => sum + counts[count], 0)
  return {
    users: { control: total('control', 'n'), treatment: total('treatment', 'n') },
    events: {
      expected: used.length > 0 ? expectedEvents(used, kind === 'proportion') : { control: 0, treatment: 0 },
      observed: { control: total('control', 'events'), treatment: total('treatment', 'events') },
    },
  }
}

/**
 * Counts the users with a value other than 0. A ratio has such a value where either part has; its numerator may still be
 * 0 for nearly all users, so the count is at most `(Σ y)² / Σ y²` of the numerators y. That number never exceeds the
 * users with a numerator other than 0.
 */
function countsOf({ n, users, num, numNum }: Cell, kind: Kind) {
  if (kind === 'proportion') return { n, events: num }
  return { n, events: kind === 'ratio' ? Math.min(users, numNum > 0 ? num ** 2 / numNum : 0) : users }
}
