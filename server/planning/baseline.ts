import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute, rows } from '../database/sql.ts'
import type { MeasureDefinition } from '../metrics/measure-definition.ts'
import { covariance, mean, variance } from '../statistics/moments.ts'
import { ratioLevel } from '../statistics/ratio.ts'
import { PART_COLUMNS } from '../totals/columns.ts'
import { numberOf, partColumns, takes } from '../totals/counting.ts'

/** The recent level and spread of a metric over all active users, from which a sample size is planned. */
export type Baseline = {
  /** The number of days whose events were read. */
  days: number
  /** The number of users with any event in these days. */
  users: number
  daily_users: number
  /** The mean per user, or the ratio; null when there are too few data. */
  level: number | null
  /** Per user, in the unit of the metric. */
  standard_deviation: number | null
  /** The correlation of a user's value in these days with the value in as many days before; null for a ratio. */
  correlation: number | null
}

const DAYS = 14

type Row = {
  users: number
  num: number
  den: number
  before: number
  num_num: number
  num_den: number
  den_den: number
  num_before: number
  before_before: number
}

/**
 * Reads the level and spread of a metric over all users with an event in the last two weeks, as if they had been
 * exposed at the beginning of these weeks. Scans four weeks of events of the metric's types.
 *
 * Example: revenue per user, 14 days. `active` holds ada and bob, who have events in the last 14 days; cat has none.
 *
 *     acted (user, part, is_late, number)      value (user, num, den, before)     sums
 *     ada  1  true   20                        ada  25  0  10                     users 2, num 25, num_num 625,
 *     ada  1  true    5                                                           before 10, num_before 250
 *     ada  1  false  10
 *     cat  1  false   7
 */
export async function readBaseline(em: EntityManager, measure: MeasureDefinition): Promise<Baseline> {
  const [sums] = await execute(
    em,
    sql<Row>`
      with m as materialized (
        select ${partColumns('part')} from ${rows(measure.parts, 'part', PART_COLUMNS)}),
      active as materialized (
        select distinct d.user_id from user_days d where d.day >= (now() - ${DAYS} * interval '1 day')::date),
      acted as materialized (
        select e.user_id, m.part, e.timestamp >= now() - ${DAYS} * interval '1 day' as is_late, ${numberOf} as number
        from events e join m on m.type = e.type
        where e.timestamp >= now() - ${2 * DAYS} * interval '1 day' and e.timestamp < now() and ${takes}),
      value as materialized (
        select a.user_id,
          ${amount(measure, 'a.is_late and a.part = 1')} as num,
          ${amount(measure, 'a.is_late and a.part = 2')} as den,
          ${amount(measure, 'not a.is_late and a.part = 1')} as before
        from acted a join active u on u.user_id = a.user_id group by a.user_id)
      select (select count(*) from active)::float8 as users,
        coalesce(sum(v.num), 0)::float8 as num,
        coalesce(sum(v.den), 0)::float8 as den,
        coalesce(sum(v.before), 0)::float8 as before,
        coalesce(sum(v.num * v.num), 0)::float8 as num_num,
        coalesce(sum(v.num * v.den), 0)::float8 as num_den,
        coalesce(sum(v.den * v.den), 0)::float8 as den_den,
        coalesce(sum(v.num * v.before), 0)::float8 as num_before,
        coalesce(sum(v.before * v.before), 0)::float8 as before_before
      from value v`,
  )
  return baselineOf(sums as Row, measure.parts.length === 2)
}

const amount = ({ is_binary }: MeasureDefinition, which: string) => {
  const sum = sql`coalesce(sum(a.number) filter (where ${sql.raw(which)}), 0)`
  return is_binary ? sql`least(${sum}, 1)` : sum
}

function baselineOf(row: Row, isRatio: boolean): Baseline {
  const n = row.users
  const shown = { days: DAYS, users: n, daily_users: n / DAYS }
  if (isRatio) {
    const level = ratioLevel({
      n,
      sumNum: row.num,
      sumSqNum: row.num_num,
      sumDen: row.den,
      sumSqDen: row.den_den,
      sumNumDen: row.num_den,
    })
    if (typeof level === 'string') return { ...shown, level: null, standard_deviation: null, correlation: null }
    return { ...shown, level: level.level, standard_deviation: Math.sqrt(level.variance * n), correlation: null }
  }
  const sums = { n, sum: row.num, sumSq: row.num_num }
  const spread = variance(sums)
  const before = variance({ n, sum: row.before, sumSq: row.before_before })
  const joint = covariance({ n, sumX: row.num, sumY: row.before, sumXY: row.num_before })
  const correlation = spread && before && joint !== null ? joint / Math.sqrt(spread * before) : null
  return { ...shown, level: mean(sums), standard_deviation: spread === null ? null : Math.sqrt(spread), correlation }
}
