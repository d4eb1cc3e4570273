import { type RawBuilder, sql } from 'kysely'

/**
 * What the raw rows say of people: the one definition of what is counted, as parts of a statement. The fold, the filling
 * in of a new metric, an answer's unfolded tail, `rebuild` and `verify` are all made of it.
 */

/** A place in the order of transactions: events up to it, itself included, are counted; null: all that is stored. */
export type Cursor = { xid: string; id: number }

export const cursorOf = ({ xid, id }: Cursor) => sql`(${xid}::text::xid8, ${String(id)}::text::bigint)`
const until = (upTo: Cursor | null) => (upTo === null ? sql`` : sql`and (e.xid, e.id) <= ${cursorOf(upTo)}`)
const ofRun = (runId: number | null) => (runId === null ? sql`` : sql`and r.id = ${runId}::int`)

/**
 * CTEs of the people that these ids belong to: `given` (id), `person` (id; an owner and the aliases are one) and
 * `touched` (id), both of them: under an id that became an alias something may be stored still.
 */
export const people = (ids: readonly string[]) => sql`
  given as materialized (select i.id from jsonb_array_elements_text(${JSON.stringify(ids)}::text::jsonb) as i (id)),
  person as materialized (
    select distinct coalesce(l.user_id, g.id) as id from given g
    left join lateral (select l.user_id from aliases l where l.alias_id = g.id offset 0) l on true),
  touched as materialized (select g.id from given g union select p.id from person p)`

/** Sums over events `e`, per group. */
const eventSums = sql`count(*) as events, coalesce(sum(e.value), 0) as value, count(*) filter (where e.unusable) as unusable,
  min(e.timestamp) as first_at, max(e.timestamp) as last_at`

/**
 * CTEs after `person`: `fresh_unit`, a row per person and run that is not frozen, and `fresh_metric`, what the exposed ones did.
 * - They met the variant at the earliest exposure by any of their ids. Two variants make a crossover; whoever was decided
 *   elsewhere and crossed stands under the variant that the earliest event names, whichever arrived first.
 * - Period and dimensions are those of the earliest assignment.
 * - An event counts at or after the exposure and before the run's end, where it names the experiment or none.
 * @param runId of the only run to be looked at; null: all
 */
export const counted = (upTo: Cursor | null, runId: number | null = null) => sql`
  ids as materialized (
    select p.id as person_id, p.id as user_id from person p
    union all
    select p.id, l.alias_id from person p
    cross join lateral (select l.alias_id from aliases l where l.user_id = p.id offset 0) l),
  held as materialized (
    select i.person_id, a.user_id, a.run_id, a.variant_id, coalesce(a.first_variant_id, a.variant_id) as first_variant_id, a.period, a.source, a.assigned_at, a.exposed_at, a.excluded_reason,
      a.dimensions, r.experiment_id, r.started_at, r.ended_at
    from ids i
    cross join lateral (select a.* from assignments a where a.user_id = i.user_id offset 0) a
    join runs r on r.id = a.run_id
    where r.frozen_at is null ${ofRun(runId)}),
  happened as materialized (
    select i.person_id, e.id, e.experiment_id, e.variant_id, e.type, e.timestamp, e.value, e.unusable
    from (select h.person_id, min(h.started_at) as since from held h group by h.person_id) s
    join ids i on i.person_id = s.person_id
    cross join lateral (
      select e.id, e.experiment_id, e.variant_id, e.type, e.timestamp, event_value(e.properties) as value,
        event_unusable(e.properties) as unusable
      from events e where e.user_id = i.user_id and e.timestamp >= s.since ${until(upTo)} offset 0) e),
  joined as materialized (
    select h.person_id as user_id, h.run_id, h.experiment_id, h.started_at, h.ended_at, min(h.exposed_at) as exposed_at,
      coalesce(min(h.variant_id) filter (where h.exposed_at is not null), min(h.variant_id)) as variant_id,
      (array_agg(h.first_variant_id order by h.assigned_at, h.first_variant_id))[1] as first_variant_id,
      array_agg(h.variant_id) filter (where h.exposed_at is not null) as shown_ids,
      (array_agg(h.period order by h.assigned_at, h.user_id))[1] as period,
      (array_agg(h.dimensions order by h.assigned_at, h.user_id))[1] as dimensions,
      bool_or(h.source = 'event') as is_external,
      case when bool_or(h.excluded_reason = 'override') then 'override'
        when bool_or(h.excluded_reason = 'crossover')
          or count(distinct h.variant_id) filter (where h.exposed_at is not null) > 1 then 'crossover' end as excluded_reason
    from held h group by h.person_id, h.run_id, h.experiment_id, h.started_at, h.ended_at),
  named as materialized (
    select u.user_id, u.run_id, bool_or(e.variant_id <> all (u.shown_ids)) as another
    from joined u join happened e on e.person_id = u.user_id
    where e.experiment_id = u.experiment_id and e.variant_id is not null
      and e.timestamp >= u.started_at and (u.ended_at is null or e.timestamp < u.ended_at)
    group by u.user_id, u.run_id),
  fresh_unit as materialized (
    select u.user_id, u.run_id,
      case when u.is_external and u.excluded_reason = 'crossover' then u.first_variant_id else u.variant_id end as variant_id,
      u.period, u.exposed_at, u.is_external, u.excluded_reason,
      coalesce(not u.is_external and n.another, false) as claims_other, u.dimensions, u.experiment_id, u.ended_at
    from joined u left join named n on n.user_id = u.user_id and n.run_id = u.run_id),
  fresh_metric as materialized (
    select u.user_id, u.run_id, m.id as metric_id, ${eventSums}
    from fresh_unit u
    join run_metrics rm on rm.run_id = u.run_id
    join metrics m on m.id = rm.metric_id
    join event_types t on t.id = m.type_id
    join happened e on e.person_id = u.user_id and e.type = t.name
    where e.timestamp >= u.exposed_at and (u.ended_at is null or e.timestamp < u.ended_at)
      and (e.experiment_id is null or e.experiment_id = u.experiment_id)
    group by u.user_id, u.run_id, m.id)`

/** CTEs after `touched`: `stored_unit` and `stored_metric`, what totals say of these people in runs that are not frozen. */
export const stored = (runId: number | null = null) => sql`
  stored_unit as materialized (
    select u.user_id, u.run_id, u.variant_id, u.period, u.exposed_at, u.is_external, u.excluded_reason, u.claims_other, u.dimensions
    from touched
    cross join lateral (select u.* from units u where u.user_id = touched.id offset 0) u
    join runs r on r.id = u.run_id
    where r.frozen_at is null ${ofRun(runId)}),
  stored_metric as materialized (
    select m.user_id, m.run_id, m.metric_id, m.events, m.value, m.unusable, m.first_at, m.last_at
    from touched
    cross join lateral (select m.* from unit_metrics m where m.user_id = touched.id offset 0) m
    join runs r on r.id = m.run_id
    where r.frozen_at is null ${ofRun(runId)})`

/** Rows `x` once for everybody, and once for each dimension that they have a value of. */
export const dimensionsOf = (x: string) => sql`cross join lateral (
  select '' as dimension, '' as dimension_value
  union all select d.key, d.value from jsonb_each_text(coalesce(${sql.ref(`${x}.dimensions`)}, '{}')) d) d`

/** What people add to `variant_units`, from rows `x` with a sign of 1 or -1. */
const unitCounts = sql`sum(x.sign) as assigned,
  coalesce(sum(x.sign) filter (where not x.is_external), 0) as drawn,
  coalesce(sum(x.sign) filter (where not x.is_external and x.exposed_at is not null), 0) as drawn_exposed,
  coalesce(sum(x.sign) filter (where x.exposed_at is not null and x.excluded_reason is null), 0) as users,
  coalesce(sum(x.sign) filter (where x.exposed_at is not null and x.is_external), 0) as externally_decided,
  coalesce(sum(x.sign) filter (where x.exposed_at is not null and x.excluded_reason = 'crossover'), 0) as crossovers,
  coalesce(sum(x.sign) filter (where x.exposed_at is not null and x.excluded_reason = 'override'), 0) as overridden,
  coalesce(sum(x.sign) filter (where x.exposed_at is not null and x.claims_other), 0) as claimed_other`
/** What people add to `variant_metrics`, likewise. */
const metricSums = sql`sum(x.sign) as users, sum(x.sign * x.events) as events, sum(x.sign * x.events * x.events) as events_sq,
  sum(x.sign * x.value) as value, sum(x.sign * x.value * x.value) as value_sq, sum(x.sign * x.unusable) as unusable`

/** The columns of both tables that are added up. */
export const UNIT_COUNTS = [
  'assigned',
  'drawn',
  'drawn_exposed',
  'users',
  'externally_decided',
  'crossovers',
  'overridden',
  'claimed_other',
] as const
export const METRIC_SUMS = ['users', 'events', 'events_sq', 'value', 'value_sq', 'unusable'] as const

const CELL = sql`x.run_id, x.period, x.variant_id, d.dimension, d.dimension_value`

/** Rows of `variant_units` that signed rows of units make. */
export const unitTotals = (signed: RawBuilder<unknown>) => sql`
  select ${CELL}, ${unitCounts} from (${signed}) x ${dimensionsOf('x')} group by ${CELL}`

/** Rows of `variant_metrics` that signed rows of units, joined with what they did, make. */
export const metricTotals = (signed: RawBuilder<unknown>) => sql`
  select ${CELL}, x.metric_id, ${metricSums} from (${signed}) x ${dimensionsOf('x')} group by ${CELL}, x.metric_id`

/** People who count: they met a variant and nothing leaves them out. */
export const isCounted = (u: string) =>
  sql`${sql.ref(`${u}.exposed_at`)} is not null and ${sql.ref(`${u}.excluded_reason`)} is null`

/** Signed rows of units and of what those who count did, from a pair of CTEs. */
export const signedUnits = (sign: 1 | -1, units: 'fresh_unit' | 'stored_unit') => sql`
  select ${sql.lit(sign)} as sign, u.run_id, u.period, u.variant_id, u.dimensions, u.is_external, u.exposed_at, u.excluded_reason,
    u.claims_other
  from ${sql.table(units)} u`
export const signedMetrics = (
  sign: 1 | -1,
  units: 'fresh_unit' | 'stored_unit',
  metrics: 'fresh_metric' | 'stored_metric',
) => sql`
  select ${sql.lit(sign)} as sign, u.run_id, u.period, u.variant_id, u.dimensions, m.metric_id, m.events, m.value, m.unusable
  from ${sql.table(units)} u join ${sql.table(metrics)} m on m.user_id = u.user_id and m.run_id = u.run_id
  where ${isCounted('u')}`
