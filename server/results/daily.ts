import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import type { MeasureDefinition } from '../metrics/measure.ts'
import { counted, isCounted, PRODUCTS, SUMS } from '../totals/counting.ts'
import { addUp, chunksOf } from './chunks.ts'
import { asMeasures, PLAIN_VIEW, rawFilterOf } from './raw.ts'
import type { MeasuredRun } from './totals.ts'

/** A run day by day, read from what is recorded of every user: sums of squares of running totals cannot be added over days. */

/** What is added on a day, by variant and allocation period. */
export type DailyRow = {
  /** Of the calendar, or days since the exposure. */
  day: string
  variant_id: number
  period: number
  n: number
  converted: number
} & Record<string, number>

const products = (one: string, other: string, last: string | null) => {
  const now = sql`${sql.ref(`x.${one}`)} * ${sql.ref(`x.${other}`)}`
  return last === null ? now : sql`${now} - ${sql.ref(`x.${last}${one}`)} * ${sql.ref(`x.${last}${other}`)}`
}
/** Sums over users of what changed of their totals, and of the products of any two. */
const changes = (last: string | null) => sql`
  ${sql.join(SUMS.map((sum) => sql`sum(${last === null ? sql.ref(`x.${sum}`) : sql`${sql.ref(`x.${sum}`)} - ${sql.ref(`x.${last}${sum}`)}`})::float8 as ${sql.ref(sum)}`))},
  ${sql.join(PRODUCTS.map(([one, other]) => sql`sum(${products(one, other, last)})::float8 as ${sql.ref(`${one}_${other}`)}`))}`

const upToOne = (isBinary: boolean, sum: RawBuilder<unknown>) => (isBinary ? sql`least(${sum}, 1)` : sum)

const source = (
  person: RawBuilder<unknown>,
  run: MeasuredRun,
  measure: MeasureDefinition,
  declared: readonly string[],
) => sql`
  ${person}, ${counted(null, run.id, rawFilterOf(run, PLAIN_VIEW, declared, asMeasures(run, [measure])))},
  unit as materialized (
    select u.user_id, u.variant_id, u.period, u.exposed_at, coalesce(m.pre_num, 0) as pre_num, coalesce(m.pre_den, 0) as pre_den
    from fresh_unit u left join fresh_metric m on m.user_id = u.user_id where ${isCounted('u')})`

/**
 * What each day of the calendar adds to the sums that stand at its end: of users exposed by then, their events by then.
 * @returns rows in ascending day
 */
export async function readDaily(
  em: EntityManager,
  run: MeasuredRun,
  measure: MeasureDefinition,
  declared: readonly string[],
  timeZone: string,
): Promise<DailyRow[]> {
  const dayOf = (time: string) => sql`(${sql.ref(time)} at time zone ${timeZone})::date`
  const running = (sum: string) =>
    sql`sum(${sql.ref(`s.${sum}`)}) over (partition by s.user_id order by s.day rows unbounded preceding)`
  const chunks: DailyRow[][] = []
  for await (const person of chunksOf(em, run)) {
    const { rows } = await sql<DailyRow>`
    with ${source(person, run, measure, declared)},
    step as materialized (
      select s.user_id, s.day, sum(s.num) as num, sum(s.den) as den, bool_or(s.is_first) as is_first from (
        select u.user_id, ${dayOf('u.exposed_at')} as day, 0::numeric as num, 0::numeric as den, true as is_first from unit u
        union all
        select a.user_id, ${dayOf('a.timestamp')}, case when a.part = 1 then coalesce(a.number, 0) else 0 end,
          case when a.part = 2 then coalesce(a.number, 0) else 0 end, false
        from acted a where a.is_after) s
      group by s.user_id, s.day),
    total as materialized (
      select s.user_id, s.day, s.is_first, ${upToOne(measure.is_binary, running('num'))} as num, ${running('den')} as den,
        ${upToOne(measure.is_binary, sql`${running('num')} - s.num`)} as last_num, ${running('den')} - s.den as last_den
      from step s),
    x as materialized (
      select t.day, u.variant_id, u.period, t.is_first, t.num, t.den, u.pre_num, u.pre_den, t.last_num, t.last_den,
        case when t.is_first then 0 else u.pre_num end as last_pre_num, case when t.is_first then 0 else u.pre_den end as last_pre_den
      from total t join unit u on u.user_id = t.user_id)
    select x.day::text as day, x.variant_id, x.period, (count(*) filter (where x.is_first))::float8 as n,
      (count(*) filter (where x.num <> 0 and x.last_num = 0))::float8 as converted, ${changes('last_')}
    from x group by x.day, x.variant_id, x.period order by x.day`.execute(em.getKysely())
    chunks.push(rows)
  }
  return addDays(chunks)
}

/**
 * What users did on a day after their exposure, of those who have been observed that long.
 * @param until what was observed by then
 */
export async function readSinceExposure(
  em: EntityManager,
  run: MeasuredRun,
  measure: MeasureDefinition,
  declared: readonly string[],
  until: Date,
  maxDays: number,
): Promise<DailyRow[]> {
  const sums = (part: 1 | 2) => sql`coalesce(sum(a.number) filter (where a.part = ${sql.lit(part)}), 0)`
  const chunks: DailyRow[][] = []
  for await (const person of chunksOf(em, run)) {
    const { rows } = await sql<DailyRow>`
    with ${source(person, run, measure, declared)},
    observed as materialized (
      select u.user_id, u.variant_id, u.period, u.exposed_at,
        least(${maxDays}::int, floor(extract(epoch from ${until.toISOString()}::timestamptz - u.exposed_at) / 86400)::int) as days
      from unit u),
    day as materialized (select generate_series(0, ${maxDays - 1}::int) as day),
    size as materialized (
      select d.day, o.variant_id, o.period, count(*)::float8 as n from observed o join day d on d.day < o.days
      group by d.day, o.variant_id, o.period),
    did as materialized (
      select a.user_id, floor(extract(epoch from a.timestamp - o.exposed_at) / 86400)::int as day, o.variant_id, o.period,
        ${upToOne(measure.is_binary, sums(1))} as num, ${sums(2)} as den, 0::numeric as pre_num, 0::numeric as pre_den
      from acted a join observed o on o.user_id = a.user_id
      where a.is_after and extract(epoch from a.timestamp - o.exposed_at) < 86400 * o.days
      group by a.user_id, 2, o.variant_id, o.period),
    x as materialized (select d.* from did d)
    select s.day::text as day, s.variant_id, s.period, s.n, coalesce(t.converted, 0) as converted,
      ${sql.join([...SUMS, ...PRODUCTS.map(([one, other]) => `${one}_${other}`)].map((name) => sql`coalesce(${sql.ref(`t.${name}`)}, 0) as ${sql.ref(name)}`))}
    from size s left join (
      select x.day, x.variant_id, x.period, (count(*) filter (where x.num <> 0))::float8 as converted, ${changes(null)}
      from x group by x.day, x.variant_id, x.period) t on t.day = s.day and t.variant_id = s.variant_id and t.period = s.period
    order by s.day`.execute(em.getKysely())
    chunks.push(rows)
  }
  return addDays(chunks)
}

/** In ascending day. */
const addDays = (chunks: readonly DailyRow[][]) =>
  addUp(chunks, ({ day, variant_id, period }) => JSON.stringify([day, variant_id, period]), [
    'day',
    'variant_id',
    'period',
  ]).sort((one, other) => (sortable(one.day) < sortable(other.day) ? -1 : 1))
/** Days since the exposure are numbers. */
const sortable = (day: string) => day.padStart(10, '0')
