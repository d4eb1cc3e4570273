import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import type { MetricSums, SummedMetric } from '../analysis/statistics.ts'
import { NO_TOTALS } from '../analysis/sums.ts'
import { execute } from '../database/sql.ts'
import type { MeasureDefinition } from '../metrics/measure-definition.ts'
import { quantileRank } from '../statistics/winsorization.ts'
import { isCounted } from '../totals/adding.ts'
import { columns, counted, people } from '../totals/counting.ts'
import { planForChunks } from '../totals/progress.ts'
import { chunksOf } from './chunks.ts'
import { asMeasures, rawFilterOf, type View } from './raw.ts'
import type { MeasuredRun } from './totals.ts'

/**
 * Reads values per user and caps them at a quantile of all users' values. Every event may move the cap, so totals
 * cannot hold sums of capped values.
 */

/** The sums of capped values and capped covariates, the caps, and the number of capped users. */
type Capped = Pick<SummedMetric, 'sums'> & { caps: NonNullable<SummedMetric['caps']> }

/** The figures of one user that the sums need. */
type Value = {
  variant_id: number
  period: number
  events: number
  unusable: number
  exposing: boolean
  num: number
  pre_num: number
}

const valueFields = sql`'variant_id', u.variant_id, 'period', u.period, 'events', m.events, 'unusable', m.unusable,
  'exposing', m.exposing,
  'num', m.num, 'pre_num', m.pre_num`
/** Selects the values of all counted users for one measure, and the number of counted users with or without a value. */
const valuesOf = (units: string, metrics: string) => sql<Values>`
  select (select count(*) from ${sql.table(units)} u where ${isCounted('u')})::int as users, coalesce((
    select json_agg(json_build_object(${valueFields}))
    from ${sql.table(units)} u join ${sql.table(metrics)} m on m.user_id = u.user_id
      where ${isCounted('u')}), '[]') as found`
const UNIT_FIELDS = ['user_id', 'variant_id', 'period', 'exposed_at', 'excluded_reason']
const METRIC_FIELDS = ['user_id', 'events', 'unusable', 'exposing', 'num', 'pre_num']
type Values = { users: number; found: Value[] }

/**
 * Reads the values that totals keep per user for one measure, and caps them at a quantile of all users' values. The
 * covariate is capped at its own quantile.
 * @param fraction of the quantile, such as 0.99
 * @param userIds users with unfolded events, whose values are computed from raw events instead
 */
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
  const now = (table: string, fresh: string, names: readonly string[], which: RawBuilder<unknown> = sql`true`) => sql`
    select ${columns(names, 'x')} from ${sql.table(table)} x where x.run_id = ${run.id} and ${which} ${except}
    ${corrected ? sql`union all select ${columns(names, 'x')} from ${sql.table(fresh)} x where ${which}` : sql``}`
  // Nested loops over all pairs of users and values would take seconds.
  await planForChunks(em)
  const rows = await execute(
    em,
    sql<Values>`
      with ${corrected ? unfolded : sql``}
      unit_now as materialized (${now('units', 'fresh_unit', UNIT_FIELDS)}),
      metric_now as materialized (
        ${now('unit_metrics', 'fresh_metric', METRIC_FIELDS, sql`x.measure_id = ${measureId}`)})
      ${valuesOf('unit_now', 'metric_now')}`,
  )
  return capValues(rows as Values[], fraction)
}

/** Computes all values from raw events and caps them likewise. @param declared dimensions of the experiment */
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
    const rows = await execute(
      em,
      sql<Values>`
        with ${person}, ${counted(null, run.id, rawFilterOf(run, view, declared, asMeasures(run, [measure])))}
        ${valuesOf('fresh_unit', 'fresh_metric')}`,
    )
    chunks.push(...rows)
  }
  return capValues(chunks, fraction)
}

/** Caps the values and adds them up by variant and period. A counted user without a value has the value 0. */
function capValues(chunks: readonly Values[], fraction: number): Capped {
  const users = chunks.reduce((sum, chunk) => sum + chunk.users, 0)
  const values = chunks.flatMap(({ found }) => found)
  const capOf = (amount: 'num' | 'pre_num') => {
    if (users === 0) return null
    const all = new Float64Array(users)
    for (const [index, value] of values.entries()) all[index] = value[amount]
    return all.sort()[quantileRank(users, fraction) - 1] as number
  }
  const caps: Capped['caps'] = { outcome: capOf('num'), covariate: capOf('pre_num'), capped: {} }
  const cells = new Map<string, MetricSums>()
  for (const value of values) {
    const { variant_id: variantId, period } = value
    const num = Math.min(value.num, caps.outcome ?? Infinity)
    const preNum = Math.min(value.pre_num, caps.covariate ?? Infinity)
    caps.capped[variantId] = (caps.capped[variantId] ?? 0) + (value.num > num ? 1 : 0)
    const key = `${variantId} ${period}`
    const cell = cells.get(key) ?? { ...NO_TOTALS, variantId, period }
    cell.users += value.events > 0 ? 1 : 0
    cell.exposing += value.events > 0 && value.exposing ? 1 : 0
    cell.events += value.events
    cell.unusable += value.unusable
    cell.num += num
    cell.preNum += preNum
    cell.numNum += num ** 2
    cell.numPreNum += num * preNum
    cell.preNumPreNum += preNum ** 2
    cells.set(key, cell)
  }
  return { caps, sums: [...cells.values()] }
}
