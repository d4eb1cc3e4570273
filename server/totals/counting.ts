import { type RawBuilder, sql } from 'kysely'
import { EXCLUSION_REASONS, type ExclusionReason } from '../analysis/exclusions.ts'
import { list } from '../database/sql.ts'
import {
  AMOUNT_COLUMNS,
  type AmountColumn,
  MEASURE_COLUMNS,
  PART_COLUMNS,
  UNIT_COLUMNS,
  UNIT_METRIC_COLUMNS,
} from './columns.ts'

/**
 * Defines, for the whole platform, what raw rows count for. Functions make parts of a statement, of which the fold, the
 * filling in of a new measure, the recount of unfolded events in an answer, `rebuild` and `verify` consist. A person is
 * a user with all aliases.
 */

/** A position in the order of transactions. Events up to and including the position are counted; null: all events. */
export type Cursor = { xid: string; id: number }

export const cursorOf = ({ xid, id }: Cursor) => sql`(${xid}::text::xid8, ${String(id)}::text::bigint)`
const until = (upTo: Cursor | null) => (upTo === null ? sql`` : sql`and (e.xid, e.id) <= ${cursorOf(upTo)}`)
const ofRun = (runId: number | null) => (runId === null ? sql`` : sql`and r.id = ${runId}::int`)

/**
 * Makes the CTEs of the persons that these ids belong to: `given` (id), `person` (id of the owner of an alias) and
 * `touched` (both ids). The alias's own id is needed too: totals may still hold rows under an id that became an alias.
 */
export const people = (ids: readonly string[]) => sql`
  given as materialized (select i.id from ${list(ids)} as i (id)),
  person as materialized (
    select distinct coalesce(l.user_id, g.id) as id from given g
    left join lateral (select l.user_id from aliases l where l.alias_id = g.id offset 0) l on true),
  touched as materialized (select g.id from given g union select p.id from person p)`

export const columns = (names: readonly string[], prefix?: string) =>
  sql.join(names.map((name) => sql.ref(prefix ? `${prefix}.${name}` : name)))

export const measureColumns = (m: string) => columns(Object.keys(MEASURE_COLUMNS), m)
/** The columns of a measure's part, from `measure_parts` or from a record set. */
export const partColumns = (p: string) =>
  sql.join(
    Object.keys(PART_COLUMNS).map((name) =>
      name === 'filter' ? sql`${sql.ref(`${p}.filter`)}::jsonpath as filter` : sql.ref(`${p}.${name}`),
    ),
  )

/** Converts a number of milliseconds to an interval. */
const ms = (column: string) => sql`${sql.ref(column)} * interval '1 millisecond'`

/** The number that part `m` of a measure reads from an event `e`; null where the event has none. */
export const numberOf = sql`case when not m.is_count then event_number(e.properties, m.property)
  when m.property is null or event_number(e.properties, m.property) is not null then 1 end`
/** The condition that event `e` has no usable number for part `m`. */
export const isUnfit = sql`not m.is_count and event_unfit(e.properties, m.property)`
/** The condition that event `e` lacks the property that part `m` adds up. */
export const isMissing = sql`m.is_required and event_property(e.properties, m.property) is null`
/** The condition that the filter of part `m` accepts event `e`. */
export const takes = sql`(m.filter is null or jsonb_path_exists(coalesce(e.properties, '{}'), m.filter, '{}', true))`
/** The condition that event `e` of person `u` counts for measure `m`: at or after the exposure. */
export const countsAfter = sql`(e.timestamp >= u.exposed_at + ${ms('m.from_ms')}
  and case when m.until_ms is not null then e.timestamp < u.exposed_at + ${ms('m.until_ms')}
    else u.ended_at is null or e.timestamp < u.ended_at end)`
/** The condition that event `e` of person `u` counts for the covariate of measure `m`: before the exposure. */
export const countsBefore = sql`(e.timestamp < u.exposed_at and e.timestamp >= u.exposed_at - ${ms('m.before_ms')})`

/** Adds up the numbers of a part's events that meet a condition; at most 1 where the measure is binary. */
const amountOf = (part: 1 | 2, which: RawBuilder<unknown>) => {
  const sum = sql`coalesce(sum(a.number) filter (where ${which} and a.part = ${sql.lit(part)}), 0)`
  return part === 1 ? sql`case when a.is_binary then least(${sum}, 1) else ${sum} end` : sum
}

/** The amounts of a person, over the person's events `a`. */
const AMOUNTS: Record<AmountColumn, RawBuilder<unknown>> = {
  num: amountOf(1, sql`a.is_after`),
  den: amountOf(2, sql`a.is_after`),
  pre_num: amountOf(1, sql`not a.is_after`),
  pre_den: amountOf(2, sql`not a.is_after`),
}

/** The measures of all runs, one row per part. */
const measuresOfRuns = sql`
  select rm.run_id, m.id as measure_id, ${measureColumns('m')}, ${partColumns('p')}
  from run_metrics rm join measures m on m.id = rm.measure_id join measure_parts p on p.measure_id = m.id`

/** Filters raw rows for questions that totals cannot answer. Each field is a part of the statement. */
export type RawFilter = {
  /** Selects measures; null: the measures of the runs. */
  measures: RawBuilder<unknown> | null
  /** The condition on runs `r`. */
  runs: RawBuilder<unknown>
  /** Further conditions on assignments `a`. */
  assigned: RawBuilder<unknown>
  /** Further conditions on events `e`. */
  happened: RawBuilder<unknown>
  /** The time at which assignment `a` was exposed. */
  exposed: RawBuilder<unknown>
}
const NO_RAW_FILTER: RawFilter = {
  measures: null,
  runs: sql`r.frozen_at is null`,
  assigned: sql``,
  happened: sql``,
  exposed: sql`a.exposed_at`,
}

/**
 * The condition of each reason to exclude a person, over the person's assignments `h` in a run. `busy` finds `rate`.
 */
const IS_EXCLUDED: Record<Exclude<ExclusionReason, 'rate'>, RawBuilder<unknown>> = {
  override: sql`bool_or(h.excluded_reason = 'override')`,
  hand: sql`bool_or(h.by_hand)`,
  attribute: sql`bool_or(h.dimensions ->> 'is_bot' = 'true' or h.dimensions ->> 'is_internal' = 'true')`,
  crossover: sql`bool_or(h.excluded_reason = 'crossover')
    or count(distinct h.variant_id) filter (where h.exposed_at is not null) > 1`,
}
const firstReason = sql`case ${sql.join(
  EXCLUSION_REASONS.flatMap((reason) =>
    reason === 'rate' ? [] : [sql`when ${IS_EXCLUDED[reason]} then ${sql.lit(reason)}`],
  ),
  sql` `,
)} end`
/** The reasons that precede `rate`. */
const beforeRate = sql.join(
  EXCLUSION_REASONS.slice(0, EXCLUSION_REASONS.indexOf('rate')).map((reason) => sql.lit(reason)),
)

/**
 * Selects a column of the assignment under which a person stands in a run: the first one by which the person met a
 * variant, else the first one. Ids decide between assignments of the same millisecond. The draw of an id does not depend
 * on the order of ids, so no variant gains by this rule. The smallest variant id would gain every crossover.
 */
const ofFirst = (column: string) => sql`
  (array_agg(${sql.ref(`h.${column}`)} order by h.exposed_at is null, h.assigned_at, h.user_id))[1]`

/**
 * Makes the CTEs that count raw rows, after the CTE `person`: `fresh_unit` has a row per person and run that is not
 * frozen, `fresh_metric` the amounts of the exposed persons.
 *
 * An example: ann has the alias `device`, and a measure of revenue has a covariate of the day before exposure:
 *
 *     assignments   device: blue, exposed 10:00          ann: blue, exposed 12:00
 *     events        device: order of 5 at 11:00          ann: order of 7 at 13:00, order of 1 at 09:00
 *     ids           (ann, ann), (ann, device)            every id of the person
 *     held          both assignments, as ann's           happened: the three events, as ann's
 *     joined        (ann, blue, exposed 10:00)           one row: the first assignment, the earliest exposure
 *     fresh_unit    (ann, blue, exposed 10:00, excluded_reason null, claims_other false)
 *     acted         5 and 7 after the exposure, 1 before
 *     fresh_metric  (ann, revenue: events 2, num 12, pre_num 1)
 *
 * - The exposure of a person is the earliest exposure under any of the person's ids.
 * - Variant, period and dimensions are those of one assignment (`ofFirst`). Where events decided the assignment, its
 *   variant is the one that the earliest event names, in whichever order the events arrived.
 * - A person who met two variants is a crossover.
 * - The type of the event that exposed a person is known where all events at the time of the exposure have one type.
 * - An event counts if it names the experiment or none, at or after the exposure, and before the run's end or within
 *   the measure's window.
 * - A person who is excluded by hand, by an attribute, or for too many events on a day is excluded under every id.
 * @param upTo the last event that is counted; null: all events are
 * @param runId counts in this run only; null: in all runs
 * @param rawFilter filters the raw rows
 */
export const counted = (upTo: Cursor | null, runId: number | null = null, rawFilter: RawFilter = NO_RAW_FILTER) => sql`
  ids as materialized (
    select p.id as person_id, p.id as user_id from person p
    union all
    select p.id, l.alias_id from person p
    cross join lateral (select l.alias_id from aliases l where l.user_id = p.id offset 0) l),
  measure as materialized (${rawFilter.measures ?? measuresOfRuns}),
  held as materialized (
    select i.person_id, a.user_id, a.run_id, a.variant_id,
      coalesce(a.first_variant_id, a.variant_id) as first_variant_id, a.period, a.source, a.assigned_at,
      ${rawFilter.exposed} as exposed_at,
      a.exposure_source, a.excluded_reason, a.dimensions, r.experiment_id, r.started_at, r.ended_at, x.max_daily_events,
      r.started_at - interval '1 millisecond'
        * coalesce((select max(m.before_ms) from measure m where m.run_id = r.id), 0) as since,
      exists (select 1 from excluded_units n where n.user_id = a.user_id
        and n.experiment_id = r.experiment_id) as by_hand
    from ids i
    cross join lateral (select a.* from assignments a where a.user_id = i.user_id offset 0) a
    join runs r on r.id = a.run_id
    join experiments x on x.id = r.experiment_id
    where ${rawFilter.runs} ${ofRun(runId)} ${rawFilter.assigned}),
  happened as materialized (
    select i.person_id, e.id, e.experiment_id, e.variant_id, e.type, e.timestamp, e.properties
    from (select h.person_id, min(h.since) as since from held h group by h.person_id) s
    join ids i on i.person_id = s.person_id
    cross join lateral (
      select e.id, e.experiment_id, e.variant_id, e.type, e.timestamp, e.properties
      from events e where e.user_id = i.user_id
        and e.timestamp >= s.since ${until(upTo)} ${rawFilter.happened} offset 0) e),
  joined as materialized (
    select h.person_id as user_id, h.run_id, h.experiment_id, h.started_at, h.ended_at, h.max_daily_events,
      min(h.exposed_at) as exposed_at,
      ${ofFirst('first_variant_id')} as variant_id, ${ofFirst('period')} as period,
      ${ofFirst('dimensions')} as dimensions,
      array_agg(h.variant_id) filter (where h.exposed_at is not null) as shown_ids,
      bool_or(h.source = 'event') as is_external,
      (array_agg(h.exposure_source order by h.exposed_at, h.user_id)
        filter (where h.exposed_at is not null))[1] = 'event' as is_reported,
      ${firstReason} as excluded_reason
    from held h group by h.person_id, h.run_id, h.experiment_id, h.started_at, h.ended_at, h.max_daily_events),
  named as materialized (
    select u.user_id, u.run_id, bool_or(e.variant_id <> all (u.shown_ids)) as another,
      case when count(distinct e.type) filter (where e.timestamp = u.exposed_at) = 1
        then min(e.type) filter (where e.timestamp = u.exposed_at) end as only_type
    from joined u join happened e on e.person_id = u.user_id
    where e.experiment_id = u.experiment_id and e.variant_id is not null
      and e.timestamp >= u.started_at and (u.ended_at is null or e.timestamp < u.ended_at)
    group by u.user_id, u.run_id),
  busy as materialized (
    select distinct x.user_id, x.run_id from (
      select u.user_id, u.run_id from joined u join happened e on e.person_id = u.user_id
      where u.max_daily_events is not null and e.timestamp >= u.started_at
        and (u.ended_at is null or e.timestamp < u.ended_at)
      group by u.user_id, u.run_id, u.max_daily_events,
        (e.timestamp at time zone (select p.time_zone from platform p))::date
      having count(*) > u.max_daily_events) x),
  fresh_unit as materialized (
    select u.user_id, u.run_id, u.variant_id, u.period, u.exposed_at, u.is_external,
      case when b.user_id is null or u.excluded_reason in (${beforeRate}) then u.excluded_reason else 'rate' end
        as excluded_reason,
      coalesce(not u.is_external and n.another, false) as claims_other,
      case when u.is_reported then n.only_type end as exposed_by,
      u.dimensions, u.experiment_id, u.ended_at
    from joined u
    left join named n on n.user_id = u.user_id and n.run_id = u.run_id
    left join busy b on b.user_id = u.user_id and b.run_id = u.run_id),
  acted as materialized (
    select u.user_id, u.run_id, m.measure_id, m.part, m.is_binary, m.keeps_numbers, m.type, e.timestamp,
      ${countsAfter} as is_after,
      ${numberOf} as number, ${isUnfit} as unfit, ${isMissing} as missing,
      u.exposed_by = m.type as exposing
    from fresh_unit u
    join measure m on m.run_id = u.run_id
    join happened e on e.person_id = u.user_id and e.type = m.type
    where (m.any_tag or e.experiment_id is null or e.experiment_id = u.experiment_id)
      and (${countsAfter} or ${countsBefore}) and ${takes}),
  fresh_metric as materialized (
    select a.user_id, a.run_id, a.measure_id,
      count(*) filter (where a.is_after and a.part = 1) as events,
      count(*) filter (where a.is_after and a.unfit) as unusable,
      count(*) filter (where a.is_after and a.missing) as missing,
      ${sql.join(AMOUNT_COLUMNS.map((name) => sql`${AMOUNTS[name]} as ${sql.ref(name)}`))},
      coalesce(bool_or(a.exposing), false) as exposing,
      min(a.timestamp) filter (where a.is_after and a.part = 1) as first_at,
      max(a.timestamp) filter (where a.is_after and a.part = 1) as last_at,
      sorted_numbers(array_agg(a.number::float8) filter (where a.keeps_numbers and a.is_after and a.part = 1
        and a.number is not null)) as numbers
    from acted a group by a.user_id, a.run_id, a.measure_id, a.is_binary)`

const ALL_BUT_NUMBERS = UNIT_METRIC_COLUMNS.filter((name) => name !== 'numbers')

/**
 * Makes the CTEs `stored_unit` and `stored_metric`, after `touched`: the stored rows of these persons in unfrozen runs.
 * Numbers are sorted, as in `fresh_metric`, so that rows can be compared.
 */
export const stored = (runId: number | null = null) => sql`
  stored_unit as materialized (
    select ${columns(UNIT_COLUMNS, 'u')}
    from touched
    cross join lateral (select u.* from units u where u.user_id = touched.id offset 0) u
    join runs r on r.id = u.run_id
    where r.frozen_at is null ${ofRun(runId)}),
  stored_metric as materialized (
    select ${columns(ALL_BUT_NUMBERS, 'm')}, sorted_numbers(m.numbers) as numbers
    from touched
    cross join lateral (select m.* from unit_metrics m where m.user_id = touched.id offset 0) m
    join runs r on r.id = m.run_id
    where r.frozen_at is null ${ofRun(runId)})`
