import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import type { CrossoverRule } from '../analysis/statistics.ts'
import { execute } from '../database/sql.ts'
import type { MeasureDefinition } from '../metrics/measure-definition.ts'
import { isCounted } from '../totals/adding.ts'
import { AMOUNT_COLUMNS, PRODUCT_COLUMNS, SUM_COLUMNS, type SumColumn } from '../totals/columns.ts'
import { counted } from '../totals/counting.ts'
import { addUp, chunksOf } from './chunks.ts'
import { asMeasures, PLAIN_VIEW, rawFilterOf } from './raw.ts'
import type { MeasuredRun } from './totals.ts'

/**
 * Reads a run day by day from the raw events of every user. The sums of each day alone are not enough: squares of
 * running totals do not add up over days.
 */

/** The changes that one day makes to the sums, by variant and allocation period. */
export type DailyRow = {
  /** A calendar day, or the number of days since the exposure. */
  day: string
  variant_id: number
  period: number
  n: number
  converted: number
} & Record<SumColumn, number>

const productChange = (one: string, other: string, last: string | null) => {
  const now = sql`${sql.ref(`x.${one}`)} * ${sql.ref(`x.${other}`)}`
  return last === null ? now : sql`${now} - ${sql.ref(`x.${last}${one}`)} * ${sql.ref(`x.${last}${other}`)}`
}
const amountChange = (name: string, last: string | null) =>
  last === null ? sql.ref(`x.${name}`) : sql`${sql.ref(`x.${name}`)} - ${sql.ref(`x.${last}${name}`)}`
/**
 * Adds up, over users, the changes of their running totals and of the products of any two running totals.
 * @param last prefix of the columns with the previous day's running totals; null: there is no previous day
 */
const changes = (last: string | null) =>
  sql.join([
    ...AMOUNT_COLUMNS.map((name) => sql`sum(${amountChange(name, last)})::float8 as ${sql.ref(name)}`),
    ...PRODUCT_COLUMNS.map(
      ({ column, one, other }) => sql`sum(${productChange(one, other, last)})::float8 as ${sql.ref(column)}`,
    ),
  ])

const upToOne = (isBinary: boolean, sum: RawBuilder<unknown>) => (isBinary ? sql`least(${sum}, 1)` : sum)

/**
 * Makes the CTEs of the counted users (`unit`) with their covariates, and of what they did (`acted`). A user counts from
 * the exposure on (`counts_from`), or where a window begins later, as that of retention, once it is over.
 */
const source = (
  person: RawBuilder<unknown>,
  run: MeasuredRun,
  measure: MeasureDefinition,
  declared: readonly string[],
  crossovers: CrossoverRule,
) => sql`
  ${person}, ${counted(null, run.id, rawFilterOf(run, PLAIN_VIEW, declared, asMeasures(run, [measure])))},
  unit as materialized (
    select u.user_id, u.variant_id, u.period, u.exposed_at, coalesce(m.pre_num, 0) as pre_num,
      coalesce(m.pre_den, 0) as pre_den,
      u.exposed_at + ${measure.from_ms > 0 ? measure.until_ms : 0}::float8 * interval '1 millisecond' as counts_from
    from fresh_unit u left join fresh_metric m on m.user_id = u.user_id where ${isCounted('u', crossovers)})`

/**
 * Reads how each calendar day changes the sums over the users who count by its end.
 *
 * An example: ann met blue on Monday, and spent 5 on Monday and 7 on Tuesday:
 *
 *     step    (ann, Monday, num 5, is_first), (ann, Tuesday, num 7)
 *     total   (ann, Monday, num 5, last_num 0), (ann, Tuesday, num 12, last_num 5)
 *     rows    Monday: n 1, num 5, num_num 25; Tuesday: n 0, num 7, num_num 119, since 12 x 12 replaces 5 x 5
 *
 * @param declared dimensions of the experiment
 * @param crossovers 'first': crossovers count, too
 * @param timeZone the time zone that separates days
 * @returns rows in ascending order of days
 */
export async function readDaily(
  em: EntityManager,
  run: MeasuredRun,
  measure: MeasureDefinition,
  declared: readonly string[],
  crossovers: CrossoverRule,
  timeZone: string,
): Promise<DailyRow[]> {
  const dayOf = (time: RawBuilder<unknown>) => sql`(${time} at time zone ${timeZone})::date`
  const running = (sum: string) =>
    sql`sum(${sql.ref(`s.${sum}`)}) over (partition by s.user_id order by s.day rows unbounded preceding)`
  const chunks: DailyRow[][] = []
  for await (const person of chunksOf(em, run)) {
    const rows = await execute(
      em,
      sql<DailyRow>`
        with ${source(person, run, measure, declared, crossovers)},
        step as materialized (
          select s.user_id, s.day, sum(s.num) as num, sum(s.den) as den, bool_or(s.is_first) as is_first from (
            select u.user_id, ${dayOf(sql`u.counts_from`)} as day, 0::numeric as num, 0::numeric as den,
              true as is_first
            from unit u where u.counts_from <= now_ms()
            union all
            select a.user_id, ${dayOf(sql`greatest(a.timestamp, u.counts_from)`)}, case when a.part = 1 then coalesce(a.number, 0) else 0 end,
              case when a.part = 2 then coalesce(a.number, 0) else 0 end, false
            from acted a join unit u on u.user_id = a.user_id and u.counts_from <= now_ms() where a.is_after) s
          group by s.user_id, s.day),
        total as materialized (
          select s.user_id, s.day, s.is_first, ${upToOne(measure.is_binary, running('num'))} as num,
            ${running('den')} as den,
            ${upToOne(measure.is_binary, sql`${running('num')} - s.num`)} as last_num,
              ${running('den')} - s.den as last_den
          from step s),
        x as materialized (
          select t.day, u.variant_id, u.period, t.is_first, t.num, t.den, u.pre_num, u.pre_den, t.last_num, t.last_den,
            case when t.is_first then 0 else u.pre_num end as last_pre_num,
            case when t.is_first then 0 else u.pre_den end as last_pre_den
          from total t join unit u on u.user_id = t.user_id)
        select x.day::text as day, x.variant_id, x.period, (count(*) filter (where x.is_first))::float8 as n,
          (count(*) filter (where x.num <> 0 and x.last_num = 0))::float8 as converted, ${changes('last_')}
        from x group by x.day, x.variant_id, x.period order by x.day`,
    )
    chunks.push(rows)
  }
  return addDays(chunks)
}

/**
 * Reads the sums of what users did on each day after their exposure, over the users who were observed to the end of
 * that day.
 *
 * An example: ann was exposed three days ago and bob one day ago, and both spent 5 in their first 24 hours:
 *
 *     observed   (ann, days 3), (bob, days 1)
 *     size       day 0: n 2; day 1: n 1; day 2: n 1
 *     did        (ann, day 0, num 5), (bob, day 0, num 5)
 *     rows       day 0: n 2, num 10; day 1: n 1, num 0; day 2: n 1, num 0
 *
 * @param declared dimensions of the experiment
 * @param crossovers 'first': crossovers count, too
 * @param until the end of the observation
 * @param maxDays the number of days after exposure that are read
 */
export async function readSinceExposure(
  em: EntityManager,
  run: MeasuredRun,
  measure: MeasureDefinition,
  declared: readonly string[],
  crossovers: CrossoverRule,
  until: Date,
  maxDays: number,
): Promise<DailyRow[]> {
  const sums = (part: 1 | 2) => sql`coalesce(sum(a.number) filter (where a.part = ${sql.lit(part)}), 0)`
  const chunks: DailyRow[][] = []
  for await (const person of chunksOf(em, run)) {
    const rows = await execute(
      em,
      sql<DailyRow>`
        with ${source(person, run, measure, declared, crossovers)},
        observed as materialized (
          select u.user_id, u.variant_id, u.period, u.exposed_at,
            least(${maxDays}::int,
              floor(extract(epoch from ${until.toISOString()}::timestamptz - u.exposed_at) / 86400)::int) as days
          from unit u),
        day as materialized (select generate_series(0, ${maxDays - 1}::int) as day),
        size as materialized (
          select d.day, o.variant_id, o.period, count(*)::float8 as n from observed o join day d on d.day < o.days
          group by d.day, o.variant_id, o.period),
        did as materialized (
          select a.user_id, floor(extract(epoch from a.timestamp - o.exposed_at) / 86400)::int as day, o.variant_id,
            o.period,
            ${upToOne(measure.is_binary, sums(1))} as num, ${sums(2)} as den, 0::numeric as pre_num,
              0::numeric as pre_den
          from acted a join observed o on o.user_id = a.user_id
          where a.is_after and extract(epoch from a.timestamp - o.exposed_at) < 86400 * o.days
          group by a.user_id, 2, o.variant_id, o.period)
        select s.day::text as day, s.variant_id, s.period, s.n, coalesce(t.converted, 0) as converted,
          ${sql.join(SUM_COLUMNS.map((name) => sql`coalesce(${sql.ref(`t.${name}`)}, 0) as ${sql.ref(name)}`))}
        from size s left join (
          select x.day, x.variant_id, x.period, (count(*) filter (where x.num <> 0))::float8 as converted,
            ${changes(null)}
          from did x group by x.day, x.variant_id, x.period) t on t.day = s.day and t.variant_id = s.variant_id
            and t.period = s.period
        order by s.day`,
    )
    chunks.push(rows)
  }
  return addDays(chunks)
}

/** Adds up the chunks by day, variant and period, in ascending order of days. */
const addDays = (chunks: readonly DailyRow[][]) =>
  addUp(chunks, ({ day, variant_id, period }) => JSON.stringify([day, variant_id, period]), [
    'day',
    'variant_id',
    'period',
  ]).sort((one, other) => (sortable(one.day) < sortable(other.day) ? -1 : 1))
/** Pads the number of days since the exposure, so that text sorts as numbers do. */
const sortable = (day: string) => day.padStart(10, '0')
