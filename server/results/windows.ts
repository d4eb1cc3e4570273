import { type RawBuilder, sql } from 'kysely'
import type { CrossoverRule } from '../analysis/statistics.ts'
import { list, rows } from '../database/sql.ts'
import type { MeasureDefinition } from '../metrics/measure-definition.ts'
import { dimensionsOf, hourOf, isCounted, isCrossover, metricTotals } from '../totals/adding.ts'
import { UNIT_METRIC_AMOUNTS } from '../totals/columns.ts'
import { columns } from '../totals/counting.ts'

/**
 * Counts users whose window is not over (immature users), and takes their amounts out of metrics that count only users
 * whose window is over. Functions make parts of a statement.
 */

/** A measure with a window. Times are in ISO 8601. */
export type Window = {
  measure_id: number
  /** Users who were exposed after this time are immature. */
  exposed_until: string
  /** Users who were exposed after this time have no event that counts yet. */
  acting_until: string
  /** Only users whose window is over are counted. */
  is_complete: boolean
  /** Immature users are counted by dimension, too. */
  by_dimension: boolean
}

/** The users that are counted. `corrected`: those with unfolded events are in `fresh_unit` and `stored_unit`. */
type Counting = { runId: number; corrected: boolean; crossovers: CrossoverRule }

/** The clock of a sender may be ahead, so that an event lies after the time of the question. */
const AHEAD_MS = 3_600_000

/**
 * Makes the window of a measure; null where the measure has none. A window that begins later than the exposure, as that
 * of retention, always counts only users whose window is over: a user cannot have returned before.
 * @param observedUntil the time up to which events are counted, in milliseconds since 1970, UTC
 * @param isInCell the question is about the users with one value of a dimension
 */
export function windowOf(
  measureId: number,
  { from_ms, until_ms }: MeasureDefinition,
  observedUntil: number,
  completeWindows: boolean,
  isInCell: boolean,
): Window | null {
  if (until_ms === null) return null
  const isComplete = from_ms > 0 || completeWindows
  return {
    measure_id: measureId,
    exposed_until: new Date(observedUntil - until_ms).toISOString(),
    acting_until: new Date(observedUntil - from_ms + AHEAD_MS).toISOString(),
    is_complete: isComplete,
    by_dimension: isComplete || isInCell,
  }
}

/** Makes the CTE `measured_window`. */
export const windowRows = (windows: readonly Window[]) => sql`
  measured_window as materialized (
    select w.measure_id, w.exposed_until, w.acting_until, w.is_complete, w.by_dimension from ${rows(windows, 'w', {
      measure_id: 'int',
      exposed_until: 'timestamptz',
      acting_until: 'timestamptz',
      is_complete: 'boolean',
      by_dimension: 'boolean',
    })})`

/** The condition that the amounts `m` of unit `u` are not left out because its window is not over. */
export const isObserved = sql`not exists (
  select 1 from measured_window w
  where w.is_complete and w.measure_id = m.measure_id and u.exposed_at > w.exposed_until)`

/** Selects the immature users of raw rows, by measure and dimension. */
export const immatureOfRaw = (crossovers: CrossoverRule) => sql`
  select d.dimension, d.dimension_value, w.measure_id, x.variant_id, x.period, count(*) as users
  from fresh_unit x join measured_window w on x.exposed_at > w.exposed_until ${dimensionsOf('x')}
  where ${isCounted('x', crossovers)} group by 1, 2, 3, 4, 5`

/**
 * Makes the CTE `immature` from totals: the immature users by measure, and by these dimensions where there are any.
 * Whole hours of exposures are added up; only the hour in which the last complete window began is read by user.
 *
 * An example: it is Friday 10:20, and a window takes 24 hours:
 *
 *     measured_window   exposed_until Thursday 10:20
 *     exposure_hours    Thursday 11:00 and later: 40 users in blue
 *     units             ann, exposed on Thursday at 10:45
 *     immature          41 users in blue
 *
 */
export const immatureOfTotals = (of: Counting, dimensions: readonly string[]) => sql`
  immature as materialized (
    select '' as dimension, '' as dimension_value, w.measure_id, x.variant_id, x.period, x.users
    from measured_window w join (
      select t.exposed_until, x.variant_id, x.period, sum(x.users) as users
      from (select distinct w.exposed_until from measured_window w) t cross join lateral (
        select h.variant_id, h.period, h.users ${of.crossovers === 'first' ? sql`+ h.crossovers` : sql``} as users
        from exposure_hours h where h.run_id = ${of.runId} and h.hour > t.exposed_until
        union all
        select u.variant_id, u.period, 1 from units u
        where u.run_id = ${of.runId} and u.exposed_at > t.exposed_until
          and u.exposed_at < ${hourOf(sql`t.exposed_until`)} + interval '1 hour' and ${isCounted('u', of.crossovers)}
        ${of.corrected ? sql`union all ${unfolded('fresh_unit', 1, of)} union all ${unfolded('stored_unit', -1, of)}` : sql``}
        offset 0) x
      group by 1, 2, 3) x on x.exposed_until = w.exposed_until
    ${dimensions.length > 0 ? sql`union all ${immatureIn(dimensions, of)}` : sql``})`

const unfolded = (units: 'fresh_unit' | 'stored_unit', sign: 1 | -1, { crossovers }: Counting) => sql`
  select c.variant_id, c.period, ${sql.lit(sign)} from ${sql.table(units)} c
  where c.exposed_at > t.exposed_until and ${isCounted('c', crossovers)}`

const immatureIn = (dimensions: readonly string[], of: Counting) => sql`
  select d.key, d.value, w.measure_id, u.variant_id, u.period, count(*)
  from measured_window w
  cross join lateral (
    ${storedSince(of)} offset 0) u
  cross join lateral jsonb_each_text(coalesce(u.dimensions, '{}')) d
  where w.by_dimension and d.key in (select j.name from ${list(dimensions)} as j (name))
  group by 1, 2, 3, 4, 5
  ${
    of.corrected
      ? sql`union all
        select d.key, d.value, w.measure_id, u.variant_id, u.period, count(*)
        from measured_window w join fresh_unit u on u.exposed_at > w.exposed_until and ${isCounted('u', of.crossovers)}
        cross join lateral jsonb_each_text(coalesce(u.dimensions, '{}')) d
        where w.by_dimension and d.key in (select j.name from ${list(dimensions)} as j (name))
        group by 1, 2, 3, 4, 5`
      : sql``
  }`

/** Selects the stored units that are immature for window `w`, but for those with unfolded events. */
const storedSince = ({ runId, corrected, crossovers }: Counting, which = sql``) => sql`
  select u.user_id, u.run_id, u.variant_id, u.period, u.dimensions, ${isCrossover('u')} as is_crossover from units u
  where u.run_id = ${runId} and u.exposed_at > w.exposed_until ${which} and ${isCounted('u', crossovers)}
    ${corrected ? sql`and not exists (select 1 from touched t where t.id = u.user_id)` : sql``}`

/**
 * Selects the sums of immature users, negative, in the columns of `variant_metrics`. Added to the totals, they leave the
 * sums of the users whose window is over.
 * @param corrected there are users with unfolded events, in `fresh_unit` and `fresh_metric`
 */
export const immatureSums = (runId: number, corrected: boolean) =>
  metricTotals(sql`
    select -1 as sign, u.run_id, u.period, u.variant_id, u.dimensions, u.is_crossover, m.measure_id, ${amounts}
    from measured_window w
    cross join lateral (
      ${storedSince({ runId, corrected, crossovers: 'first' }, sql`and u.exposed_at <= w.acting_until`)} offset 0) u
    join unit_metrics m on m.run_id = ${runId} and m.measure_id = w.measure_id and m.user_id = u.user_id
    where w.is_complete
    ${corrected ? sql`union all ${freshSums}` : sql``}`)

const amounts: RawBuilder<unknown> = columns(UNIT_METRIC_AMOUNTS, 'm')
const freshSums = sql`
  select -1, u.run_id, u.period, u.variant_id, u.dimensions, ${isCrossover('u')}, m.measure_id, ${amounts}
  from measured_window w join fresh_metric m on m.measure_id = w.measure_id
  join fresh_unit u on u.user_id = m.user_id and u.run_id = m.run_id
  where w.is_complete and u.exposed_at > w.exposed_until and ${isCounted('u', 'first')}`
