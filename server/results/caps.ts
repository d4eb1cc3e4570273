import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import type { MeasureDefinition } from '../metrics/measure.ts'
import { quantileRank } from '../statistics/winsorization.ts'
import { columns, counted, isCounted, people } from '../totals/counting.ts'
import { chunksOf } from './chunks.ts'
import { asMeasures, rawFilterOf, type View } from './raw.ts'
import type { MeasuredRun } from './totals.ts'

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

/** What a user did, as far as the sums need it. */
type Value = Pick<CappedRow, 'variant_id' | 'period' | 'events' | 'unusable' | 'num' | 'pre_num'> & {
  exposing: boolean
}

const valueFields = sql`'variant_id', u.variant_id, 'period', u.period, 'events', m.events, 'unusable', m.unusable, 'exposing', m.exposing,
  'num', m.num, 'pre_num', m.pre_num`
/** The values of those who count, of one measure, and how many there are with and without one. */
const valuesOf = (units: string, metrics: string, which: RawBuilder<unknown> = sql``) => sql<Values>`
  select (select count(*) from ${sql.table(units)} u where ${isCounted('u')})::int as users, coalesce((
    select json_agg(json_build_object(${valueFields}))
    from ${sql.table(units)} u join ${sql.table(metrics)} m on m.user_id = u.user_id ${which} where ${isCounted('u')}), '[]') as found`
type Values = { users: number; found: Value[] }

/** One measure's values per user, capped at a quantile of those of all users; the covariate at its own. Reads the values that totals keep per user. */
export async function readCapped(
  em: EntityManager,
  run: MeasuredRun,
  measureId: number,
  fraction: number,
  userIds: readonly string[],
): Promise<Capped> {
  const corrected = userIds.length > 0
  const unfolded = sql`${people(userIds)}, ${counted(null, run.id)},`
  const except = corrected ? sql`and not exists (select 1 from touched t where t.id = x.user_id)` : sql``
  const now = (table: string, fresh: string, names: readonly string[]) => sql`
    select ${columns(names, 'x')} from ${sql.table(table)} x where x.run_id = ${run.id} ${except}
    ${corrected ? sql`union all select ${columns(names, 'x')} from ${sql.table(fresh)} x` : sql``}`
  const { rows } = await sql<Values>`
    with ${corrected ? unfolded : sql``}
    unit_now as materialized (${now('units', 'fresh_unit', ['user_id', 'variant_id', 'period', 'exposed_at', 'excluded_reason'])}),
    metric_now as materialized (
      ${now('unit_metrics', 'fresh_metric', ['user_id', 'measure_id', 'events', 'unusable', 'exposing', 'num', 'pre_num'])})
    ${valuesOf('unit_now', 'metric_now', sql`and m.measure_id = ${measureId}`)}`.execute(em.getKysely())
  return capValues(rows as Values[], fraction)
}

/** The same from what is recorded. */
export async function readCappedRaw(
  em: EntityManager,
  run: MeasuredRun,
  measure: MeasureDefinition,
  fraction: number,
  view: View,
  declared: readonly string[],
): Promise<Capped> {
  const chunks: Values[] = []
  for await (const person of chunksOf(em, run)) {
    const { rows } = await sql<Values>`
      with ${person}, ${counted(null, run.id, rawFilterOf(run, view, declared, asMeasures(run, [measure])))}
      ${valuesOf('fresh_unit', 'fresh_metric')}`.execute(em.getKysely())
    chunks.push(...rows)
  }
  return capValues(chunks, fraction)
}

/** Those without a value have 0. */
function capValues(chunks: readonly Values[], fraction: number): Capped {
  const users = chunks.reduce((sum, chunk) => sum + chunk.users, 0)
  const values = chunks.flatMap(({ found }) => found)
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
