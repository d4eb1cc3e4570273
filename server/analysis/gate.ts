import { expectedEvents } from '../statistics/evidence.ts'
import { comparablePeriods } from '../statistics/periods.ts'
import type { Cell, CellOf } from './cells.ts'
import { sum } from './counts.ts'
import { formatCount } from './format-figures.ts'
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
   * need any. Of a rate: users with a conversion, or those without one if these are rarer.
   */
  events: { of: 'events' | 'non_events'; expected: Counts; observed: Counts } | null
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
  const sideOf = (counts: Counts) => (counts.control < counts.treatment ? 'control' : 'treatment')
  const lacking = (side: keyof Counts, count: number) => ({
    variantId: (side === 'control' ? control : treatment).variantId,
    count: Math.floor(count),
    needed,
  })
  const lackingEvents = (by: 'expected' | 'observed', { of, ...counts }: NonNullable<Support['events']>): Gate => {
    const side = sideOf(counts[by])
    const events = { of, by, observed: Math.floor(counts.observed[side]), expected: counts.expected[side] }
    return { ...lacking(side, counts[by][side]), lacks: 'events', blocksFixed: !isPlainRate, events }
  }
  // Rounding must not close the gate at exactly the needed number.
  if (events && least(events.expected) < needed * (1 - 1e-12)) return lackingEvents('expected', events)
  if (events && !isPlainRate && least(events.observed) < LEAST_VALUES && least(events.expected) < ENOUGH_VALUES)
    return lackingEvents('observed', events)
  if (least(users) >= LEAST_USERS) return null
  const side = sideOf(users)
  return {
    ...lacking(side, users[side]),
    lacks: 'users',
    needed: LEAST_USERS,
    blocksFixed: !isPlainRate,
    events: null,
  }
}

const NOUNS = { events: 'events', non_events: 'users without a conversion' } as const

/**
 * Names what a comparison lacks: "too few users in treatment (40 of 100)", "too few events in treatment (3 seen; 1
 * expected if the variants do not differ, of 10 needed)".
 */
export function gateReason({ variantId, count, needed, events }: Gate, variants: readonly Variant[]): string {
  const name = variants.find((variant) => variant.variantId === variantId)?.variantName ?? String(variantId)
  if (!events) return `too few users in ${name} (${count} of ${needed})`
  const { of, by, observed, expected } = events
  const seen = `${formatCount(observed)} seen`
  const awaited = `${expectedText(expected)} expected if the variants do not differ`
  const figures =
    by === 'expected' ? `${seen}; ${awaited}, of ${needed} needed` : `${seen} of ${needed} needed; ${awaited}`
  return `too few ${NOUNS[of]} in ${name} (${figures})`
}

/** Rounds an expected count down, below 10 to one decimal: 9.97 must not read as the 10 that are needed. */
const expectedText = (expected: number): string =>
  expected < 10 ? String(Math.floor(10 * expected) / 10) : formatCount(Math.floor(expected))

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
  const total = (count: 'n' | 'events'): Counts => ({
    control: sum(used.map((stratum) => stratum.control[count])),
    treatment: sum(used.map((stratum) => stratum.treatment[count])),
  })
  const [users, events] = [total('n'), total('events')]
  const isRate = kind === 'proportion'
  const isRarer = isRate && 2 * (events.control + events.treatment) > users.control + users.treatment
  const without = { control: users.control - events.control, treatment: users.treatment - events.treatment }
  return {
    users,
    events: {
      of: isRarer ? 'non_events' : 'events',
      expected: used.length > 0 ? expectedEvents(used, isRate) : { control: 0, treatment: 0 },
      observed: isRarer ? without : events,
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
