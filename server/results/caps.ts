import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { MeasureDefinition } from '../metrics/measure.ts'
import { quantileRank } from '../statistics/winsorization.ts'
import { counted, isCounted, people } from '../totals/counting.ts'
import { piecesOf } from './pieces.ts'
import { asMeasures, lensOf, type View } from './raw.ts'
import { type MeasuredRun, NOW } from './totals.ts'

/** Values per user, capped at a quantile of those of all users: caps move with every event, so that no total can hold them. */

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
  type Value = {
    variant_id: number
    period: number
    events: number
    unusable: number
    exposing: boolean
    num: number
    pre_num: number
  }
  const values: Value[] = []
  let users = 0
  for await (const person of piecesOf(em, run)) {
    const { rows } = await sql<{ users: number; found: Value[] }>`
      with ${person}, ${counted(null, run.id, lensOf(run, view, declared, asMeasures(run, [measure])))}
      select (select count(*) from fresh_unit u where ${isCounted('u')})::int as users, coalesce((
        select json_agg(json_build_object('variant_id', u.variant_id, 'period', u.period, 'events', m.events, 'unusable', m.unusable,
          'exposing', m.exposing, 'num', m.num, 'pre_num', m.pre_num))
        from fresh_unit u join fresh_metric m on m.user_id = u.user_id where ${isCounted('u')}), '[]') as found`.execute(
      em.getKysely(),
    )
    users += rows[0]?.users ?? 0
    for (const value of rows[0]?.found ?? []) values.push(value)
  }
  return capValues(values, users, fraction)
}

/** @param users of whom so many there are; those without a value have 0 */
function capValues(
  values: readonly {
    variant_id: number
    period: number
    events: number
    unusable: number
    exposing: boolean
    num: number
    pre_num: number
  }[],
  users: number,
  fraction: number,
): Capped {
  const capOf = (of: 'num' | 'pre_num') => {
    if (users === 0) return null
    const all = new Float64Array(users)
    for (const [place, value] of values.entries()) all[place] = value[of]
    return all.sort()[quantileRank(users, fraction) - 1] as number
  }
  const [cap, preCap] = [capOf('num'), capOf('pre_num')]
  const rows = new Map<string, CappedRow>()
  for (const { variant_id, period, events, unusable, exposing, ...value } of values) {
    const num = Math.min(value.num, cap ?? Infinity)
    const pre = Math.min(value.pre_num, preCap ?? Infinity)
    const key = `${variant_id} ${period}`
    const row = rows.get(key) ?? { ...NO_CAPPED, variant_id, period }
    row.users += events > 0 ? 1 : 0
    row.exposing += events > 0 && exposing ? 1 : 0
    row.events += events
    row.unusable += unusable
    row.capped += value.num > num ? 1 : 0
    row.num += num
    row.pre_num += pre
    row.num_num += num ** 2
    row.num_pre_num += num * pre
    row.pre_num_pre_num += pre ** 2
    rows.set(key, row)
  }
  return { cap, pre_cap: preCap, rows: [...rows.values()] }
}
const NO_CAPPED = {
  users: 0,
  exposing: 0,
  events: 0,
  unusable: 0,
  capped: 0,
  num: 0,
  pre_num: 0,
  num_num: 0,
  num_pre_num: 0,
  pre_num_pre_num: 0,
}
