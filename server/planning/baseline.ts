import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
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
  /** The number of users with any event in these days; where the metric has a window, before it began to run out. */
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
const DAY_MS = 86_400_000

type Row = {
  /** All users in question. */
  users: number
  /** The users who were read. */
  counted: number
  num: number
  den: number
  before: number
  num_num: number
  num_den: number
  den_den: number
  num_before: number
  before_before: number
}

/** The most users with a window who are read: the others hardly change level and spread. */
const MOST_USERS = 20_000

/**
 * Reads the level and spread of a metric over all users with an event in the last two weeks. A metric with a window is
 * measured as an experiment would measure it: see `readWindowed`.
 */
export async function readBaseline(em: EntityManager, measure: MeasureDefinition): Promise<Baseline> {
  const [sums] = measure.until_ms === null ? await readWeeks(em, measure) : await readWindowed(em, measure)
  return baselineOf(sums as Row, measure.parts.length === 2)
}

/** Adds up the values of users, from the CTEs `active` (all users in question) and `value`. */
const addUp = (users: RawBuilder<unknown>, counted: RawBuilder<unknown>) => sql<Row>`
  select ${users}::float8 as users, ${counted}::float8 as counted,
    coalesce(sum(v.num), 0)::float8 as num,
    coalesce(sum(v.den), 0)::float8 as den,
    coalesce(sum(v.before), 0)::float8 as before,
    coalesce(sum(v.num * v.num), 0)::float8 as num_num,
    coalesce(sum(v.num * v.den), 0)::float8 as num_den,
    coalesce(sum(v.den * v.den), 0)::float8 as den_den,
    coalesce(sum(v.num * v.before), 0)::float8 as num_before,
    coalesce(sum(v.before * v.before), 0)::float8 as before_before
  from value v`

const partRows = ({ parts }: MeasureDefinition) => sql`
  m as materialized (select ${partColumns('part')} from ${rows(parts, 'part', PART_COLUMNS)})`

/**
 * Reads a metric without a window, as if the users had been exposed at the beginning of the two weeks. Scans four weeks
 * of events of the metric's types.
 *
 * Example: revenue per user, 14 days. `active` holds ada and bob, who have events in the last 14 days; cat has none.
 *
 *     acted (user, part, is_late, number)      value (user, num, den, before)     sums
 *     ada  1  true   20                        ada  25  0  10                     users 2, num 25, num_num 625,
 *     ada  1  true    5                                                           before 10, num_before 250
 *     ada  1  false  10
 *     cat  1  false   7
 */
const readWeeks = (em: EntityManager, measure: MeasureDefinition) =>
  execute(
    em,
    sql<Row>`
      with ${partRows(measure)},
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
      ${addUp(sql`(select count(*) from active)`, sql`(select count(*) from active)`)}`,
  )

/**
 * Reads a metric with a window, as if each user had been exposed by the first event in two weeks that ended one window
 * ago: then every user's window is over. The covariate is that of the metric, or two weeks where it has none. Of many
 * users, 20,000 are drawn by a hash of their ids.
 *
 * Example: buyers within 24 hours, it is the 16th. Two weeks end one window ago, on the 15th.
 *
 *     active     ada and bob, with events from the 1st to the 15th; cat, whose first event is of today, is left out
 *     exposed    ada 3rd 10:00, bob 14th 09:00: their first events
 *     value      ada bought on the 5th: 0; bob on the 14th at 20:00: 1
 */
const readWindowed = (em: EntityManager, measure: MeasureDefinition) => {
  const { from_ms, until_ms, before_ms } = measure
  const beforeMs = before_ms || DAYS * DAY_MS
  const inMs = (ms: number) => sql`${ms}::float8 * interval '1 millisecond'`
  const end = sql`(now() - ${inMs(until_ms ?? 0)})`
  const begin = sql`(${end} - ${DAYS} * interval '1 day')`
  return execute(
    em,
    sql<Row>`
      with ${partRows(measure)},
      active as materialized (
        select d.user_id from user_days d where d.day >= ${begin}::date and d.day <= ${end}::date group by d.user_id),
      chosen as materialized (
        select a.user_id from active a order by hashtext(a.user_id), a.user_id limit ${MOST_USERS}::int),
      exposed as materialized (
        select c.user_id, e.timestamp as exposed_at from chosen c cross join lateral (
          select e.timestamp from events e
          where e.user_id = c.user_id and e.timestamp >= ${begin} and e.timestamp <= ${end}
          order by e.timestamp limit 1) e),
      acted as materialized (
        select u.user_id, m.part, e.timestamp >= u.exposed_at as is_late, ${numberOf} as number
        from exposed u cross join lateral (
          select e.type, e.timestamp, e.properties from events e
          where e.user_id = u.user_id and e.timestamp >= u.exposed_at - ${inMs(beforeMs)}
            and e.timestamp < u.exposed_at + ${inMs(until_ms ?? 0)} offset 0) e
        join m on m.type = e.type
        where (e.timestamp < u.exposed_at or e.timestamp >= u.exposed_at + ${inMs(from_ms)}) and ${takes}),
      value as materialized (
        select a.user_id,
          ${amount(measure, 'a.is_late and a.part = 1')} as num,
          ${amount(measure, 'a.is_late and a.part = 2')} as den,
          ${amount(measure, 'not a.is_late and a.part = 1')} as before
        from acted a group by a.user_id)
      ${addUp(
        sql`(select count(*) from active) * (select count(*) from exposed)
          / greatest((select count(*) from chosen), 1)::float8`,
        sql`(select count(*) from exposed)`,
      )}`,
  )
}

const amount = ({ is_binary }: MeasureDefinition, which: string) => {
  const sum = sql`coalesce(sum(a.number) filter (where ${sql.raw(which)}), 0)`
  return is_binary ? sql`least(${sum}, 1)` : sum
}

function baselineOf(row: Row, isRatio: boolean): Baseline {
  const users = Math.round(row.users)
  const n = row.counted
  const shown = { days: DAYS, users, daily_users: users / DAYS }
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
