import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import type { QuantileSums } from '../analysis/statistics.ts'
import type { MeasureDefinition } from '../metrics/measure.ts'
import { normalQuantile } from '../statistics/distributions.ts'
import {
  counted,
  isCounted,
  type Lens,
  metricTotals,
  people,
  signedMetrics,
  signedUnits,
  unitTotals,
} from '../totals/counting.ts'
import type { Json } from '../wire.ts'
import { asRows, type MeasuredRun, NOW, type TotalRows } from './totals.ts'

/** What totals cannot answer: read from what is recorded of every user of a run, at a cost that grows with it. */

/** How a question looks at what is recorded. */
export type View = {
  /** Only what had been received by then. */
  as_of: Date | null
  /** Only users who met the variant in this time, and what happened before its end. */
  from: Date | null
  to: Date | null
  /** Only users with these values: of declared dimensions as they were at the decision, of others as the profile says. */
  where: Record<string, Json>
  segment_id: number | null
}
export const PLAIN_VIEW: View = { as_of: null, from: null, to: null, where: {}, segment_id: null }
export const isPlain = (view: View) =>
  !view.as_of && !view.from && !view.to && view.segment_id === null && Object.keys(view.where).length === 0

const time = (date: Date) => sql`${date.toISOString()}::timestamptz`

/** @param declared dimensions of the experiment */
export function lensOf(run: MeasuredRun, view: View, declared: readonly string[], measures: RawBuilder<unknown>): Lens {
  const { as_of, from, to } = view
  const matches = Object.entries(view.where).map(([name, value]) =>
    declared.includes(name)
      ? sql`and coalesce(a.dimensions, '{}') ->> ${name}::text = ${String(value)}::text`
      : sql`and exists (select 1 from users p where p.id = i.person_id and p.attributes ->> ${name}::text = ${String(value)}::text)`,
  )
  const inSegment =
    view.segment_id === null
      ? sql``
      : sql`and exists (select 1 from user_segments s where s.segment_id = ${view.segment_id} and s.user_id in (a.user_id, i.person_id))`
  const bounds = [
    as_of ? sql`a.exposed_at < ${time(as_of)}` : null,
    from ? sql`a.exposed_at >= ${time(from)}` : null,
    to ? sql`a.exposed_at < ${time(to)}` : null,
  ].filter((bound) => bound !== null)
  return {
    measures,
    runs: sql`r.id = ${run.id}::int`,
    assigned: sql`${as_of ? sql`and a.assigned_at < ${time(as_of)}` : sql``} ${sql.join(matches, sql` `)} ${inSegment}`,
    happened: sql`${as_of ? sql`and e.received_at < ${time(as_of)}` : sql``} ${to ? sql`and e.timestamp < ${time(to)}` : sql``}`,
    exposed:
      bounds.length === 0 ? sql`a.exposed_at` : sql`case when ${sql.join(bounds, sql` and `)} then a.exposed_at end`,
  }
}

export const everybody = (run: MeasuredRun) => sql`
  person as materialized (
    select distinct coalesce(l.user_id, a.user_id) as id
    from assignments a left join aliases l on l.alias_id = a.user_id where a.run_id = ${run.id})`

/** Measures that no table holds, numbered by their place. */
export function asMeasures(run: MeasuredRun, measures: readonly MeasureDefinition[]) {
  const rows = measures.flatMap(({ parts, ...measure }, measure_id) =>
    parts.map((part) => ({ ...measure, ...part, measure_id })),
  )
  return sql`
    select ${run.id}::int as run_id, m.measure_id, m.is_binary, m.from_ms, m.until_ms, m.before_ms, m.any_tag, m.part, m.type,
      m.filter::jsonpath as filter, m.property, m.is_count
    from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) as m (measure_id int, is_binary boolean, from_ms bigint, until_ms bigint,
      before_ms bigint, any_tag boolean, part int, type text, filter text, property text, is_count boolean)`
}

/** Rows as totals would hold them, had they been kept for this question; measures by their place. */
export async function readRaw(
  em: EntityManager,
  run: MeasuredRun,
  measures: readonly MeasureDefinition[],
  view: View,
  declared: readonly string[],
  dimensions: readonly string[],
): Promise<TotalRows> {
  await em.execute(`select set_config('jit', 'off', true)`)
  const isAsked = sql`x.dimension in (select j.name from jsonb_array_elements_text(${JSON.stringify(dimensions)}::text::jsonb) as j (name))`
  const { rows } = await sql<TotalRows>`
    with ${everybody(run)}, ${counted(null, run.id, lensOf(run, view, declared, asMeasures(run, measures)))},
    unit as materialized (select x.* from (${unitTotals(signedUnits(1, 'fresh_unit'))}) x where ${isAsked}),
    metric as materialized (select x.* from (${metricTotals(signedMetrics(1, 'fresh_unit', 'fresh_metric'))}) x where ${isAsked})
    ${asRows('unit', 'metric')}`.execute(em.getKysely())
  return rows[0] as TotalRows
}

/** A variant's and period's capped sums, as far as a mean and its covariate need them. */
export type CappedRow = {
  variant_id: number
  period: number
  users: number
  exposing: number
  events: number
  unusable: number
  capped: number
  num: number
  pre_num: number
  num_num: number
  num_pre_num: number
  pre_num_pre_num: number
}
export type Capped = { cap: number | null; pre_cap: number | null; rows: CappedRow[] }

/** `k = clamp(ceil(n f - 1e-9), 1, n)` of n values sorted upwards, most of which may be zeros that no row holds. */
const capOf = (name: string, fraction: number) => {
  const value = sql.ref(`v.${name}`)
  return sql`(
    select case
      when c.n = 0 then null
      when c.below >= c.k then (
        select v.value from (select ${value} as value from value v where ${value} < 0) v order by v.value offset c.k - 1 limit 1)
      when c.n - c.above >= c.k then 0
      else (
        select v.value from (select ${value} as value from value v where ${value} > 0) v order by v.value desc offset c.n - c.k limit 1)
      end
    from (
      select n.n, greatest(1, least(n.n, ceil(n.n * ${fraction}::float8 - 1e-9)))::bigint as k,
        (select count(*) from value v where ${value} < 0) as below, (select count(*) from value v where ${value} > 0) as above
      from n) c)`
}

const cappedSums = sql`
  value as materialized (
    select u.variant_id, u.period, m.events, m.unusable, m.exposing, m.num, m.pre_num
    from unit_now u join metric_now m on m.user_id = u.user_id where ${isCounted('u')}),
  n as materialized (select count(*) as n from unit_now u where ${isCounted('u')}),`
const sumsOfCapped = sql`
  select c.cap::float8 as cap, c.pre_cap::float8 as pre_cap, (
    select coalesce(json_agg(s), '[]') from (
      select v.variant_id, v.period, count(*) filter (where v.events > 0) as users,
        count(*) filter (where v.events > 0 and v.exposing) as exposing, sum(v.events) as events, sum(v.unusable) as unusable,
        count(*) filter (where v.num > c.cap) as capped,
        sum(least(v.num, c.cap)) as num, sum(least(v.pre_num, c.pre_cap)) as pre_num,
        sum(least(v.num, c.cap) ^ 2) as num_num, sum(least(v.num, c.cap) * least(v.pre_num, c.pre_cap)) as num_pre_num,
        sum(least(v.pre_num, c.pre_cap) ^ 2) as pre_num_pre_num
      from value v group by v.variant_id, v.period) s) as rows
  from cap c`

/** One measure's values per user, capped at a quantile of those of all users; the covariate at its own. Reads the values that totals keep per user. */
export async function readCapped(
  em: EntityManager,
  run: MeasuredRun,
  measureId: number,
  fraction: number,
  userIds: readonly string[],
): Promise<Capped> {
  const corrected = userIds.length > 0
  const tail = sql`${people(userIds)}, ${counted(null, run.id)},`
  const { rows } = await sql<Capped>`
    with ${corrected ? tail : sql``} ${NOW(run, corrected)},
    ${cappedSumsOf(measureId)}
    cap as materialized (select ${capOf('num', fraction)} as cap, ${capOf('pre_num', fraction)} as pre_cap)
    ${sumsOfCapped}`.execute(em.getKysely())
  return rows[0] as Capped
}
const cappedSumsOf = (measureId: number) => sql`
  value as materialized (
    select u.variant_id, u.period, m.events, m.unusable, m.exposing, m.num, m.pre_num
    from unit_now u join metric_now m on m.user_id = u.user_id and m.measure_id = ${measureId} where ${isCounted('u')}),
  n as materialized (select count(*) as n from unit_now u where ${isCounted('u')}),`

/** The same from what is recorded. */
export async function readCappedRaw(
  em: EntityManager,
  run: MeasuredRun,
  measure: MeasureDefinition,
  fraction: number,
  view: View,
  declared: readonly string[],
): Promise<Capped> {
  const { rows } = await sql<Capped>`
    with ${everybody(run)}, ${counted(null, run.id, lensOf(run, view, declared, asMeasures(run, [measure])))},
    unit_now as materialized (select u.* from fresh_unit u), metric_now as materialized (select m.* from fresh_metric m),
    ${cappedSums}
    cap as materialized (select ${capOf('num', fraction)} as cap, ${capOf('pre_num', fraction)} as pre_cap)
    ${sumsOfCapped}`.execute(em.getKysely())
  return rows[0] as Capped
}

export type QuantileRead = QuantileSums & { events: number; unusable: number }

/**
 * What a quantile of events keeps of each variant: order statistics, and sums over users of their events and of those at or
 * below it. Read from the events; variants with too few of them are left out.
 * @param confidenceLevel of the order statistics around it
 * @see `summarizeQuantile`, which says the same of lists
 */
export async function readQuantile(
  em: EntityManager,
  run: MeasuredRun,
  measure: MeasureDefinition,
  fraction: number,
  confidenceLevel: number,
  view: View,
  declared: readonly string[],
): Promise<QuantileRead[]> {
  const z = -normalQuantile((1 - confidenceLevel) / 2)
  const rank = (at: RawBuilder<unknown>) => sql`greatest(1, least(c.n, ceil(c.n * (${at}) - 1e-9)))`
  const spread = sql`${z}::float8 * sqrt(${fraction * (1 - fraction)}::float8 / c.n)`
  const { rows } = await sql<QuantileRead>`
    with ${everybody(run)}, ${counted(null, run.id, lensOf(run, view, declared, asMeasures(run, [measure])))},
    value as materialized (
      select u.variant_id, a.user_id, a.number::float8 as value, row_number() over (partition by u.variant_id order by a.number) as place
      from acted a join fresh_unit u on u.user_id = a.user_id
      where a.is_after and a.number is not null and ${isCounted('u')}),
    size as materialized (select v.variant_id, count(*)::float8 as n from value v group by v.variant_id),
    ranks as materialized (
      select c.variant_id, c.n, ${rank(sql`${fraction}::float8`)} as middle, ${rank(sql`${fraction}::float8 - ${spread}`)} as lower,
        ${rank(sql`${fraction}::float8 + ${spread}`)} as upper
      from size c
      where ${fraction}::float8 - ${spread} > 0 and ${fraction}::float8 + ${spread} < 1),
    found as materialized (
      select r.variant_id, r.n, max(v.value) filter (where v.place = r.middle) as quantile,
        max(v.value) filter (where v.place = r.lower) as lower, max(v.value) filter (where v.place = r.upper) as upper
      from ranks r join value v on v.variant_id = r.variant_id group by r.variant_id, r.n),
    cluster as materialized (
      select v.variant_id, v.user_id, count(*)::float8 as k, (count(*) filter (where v.value <= f.quantile))::float8 as j
      from value v join found f on f.variant_id = v.variant_id group by v.variant_id, v.user_id)
    select f.variant_id, f.n, count(*)::float8 as clusters, f.quantile, f.lower, f.upper, sum(c.j) as sum_j, sum(c.j ^ 2) as sum_sq_j,
      sum(c.k) as sum_n, sum(c.k ^ 2) as sum_sq_n, sum(c.j * c.k) as sum_jn, f.n as events, 0::float8 as unusable
    from found f join cluster c on c.variant_id = f.variant_id
    group by f.variant_id, f.n, f.quantile, f.lower, f.upper order by f.variant_id`.execute(em.getKysely())
  return rows
}
