import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import { sum } from 'simple-statistics'
import type { CrossoverRule, MetricSums, SummedMetric } from '../analysis/statistics.ts'
import { NO_TOTALS } from '../analysis/sums.ts'
import { execute } from '../database/sql.ts'
import type { MeasureDefinition } from '../metrics/measure-definition.ts'
import { quantileRank } from '../statistics/winsorization.ts'
import { isCounted } from '../totals/adding.ts'
import { counted } from '../totals/counting.ts'
import { planForChunks } from '../totals/progress.ts'
import { chunksOf } from './chunks.ts'
import { asMeasures, rawFilterOf, type View } from './raw.ts'
import type { MeasuredRun } from './totals.ts'
import { usersNow } from './users.ts'

/**
 * Reads values per user and caps them at a quantile of all users' values. Every event may move the cap, so totals
 * cannot hold sums of capped values.
 */

/** The sums of capped values and capped covariates, the caps, and the number of capped users. */
type Capped = Pick<SummedMetric, 'sums'> & { caps: NonNullable<SummedMetric['caps']> }

/**
 * The users of a variant and period. Values and covariates are columns: an object per user would take most of the time
 * of an answer.
 */
type Values = {
  variant_id: number
  period: number
  /** Counted users, with or without a value. */
  n: number
  /** Users with an event, and those of them whom such an event exposed. */
  users: number
  exposing: number
  events: number
  unusable: number
  /** The values, and in the same order the covariates, of the users who have a value; null where nobody has. */
  nums: number[] | null
  pre_nums: number[] | null
}

const VALUE_COLUMNS = ['events', 'unusable', 'exposing', 'num', 'pre_num']
/** Selects the values of counted users for one measure. */
const valuesOf = (units: RawBuilder<unknown>, metrics: string) => sql<Values>`
  select u.variant_id, u.period, count(*)::int as n, (count(*) filter (where m.events > 0))::int as users,
    (count(*) filter (where m.events > 0 and m.exposing))::int as exposing,
    coalesce(sum(m.events), 0)::float8 as events, coalesce(sum(m.unusable), 0)::float8 as unusable,
    json_agg(m.num) filter (where m.num is not null) as nums,
    json_agg(m.pre_num) filter (where m.num is not null) as pre_nums
  from ${units} u left join ${sql.table(metrics)} m on m.user_id = u.user_id group by u.variant_id, u.period`

/**
 * Reads the values that totals keep per user for one measure, and caps them at a quantile of all users' values. The
 * covariate is capped at its own quantile.
 * @param fraction of the quantile, such as 0.99
 * @param userIds users with unfolded events, whose values are computed from raw events instead
 * @param crossovers 'first': crossovers count, too
 */
export async function readCapped(
  em: EntityManager,
  run: MeasuredRun,
  measureId: number,
  fraction: number,
  userIds: readonly string[],
  crossovers: CrossoverRule,
): Promise<Capped> {
  await planForChunks(em)
  const values = await execute(
    em,
    sql<Values>`
      with ${usersNow(run, measureId, VALUE_COLUMNS, userIds, crossovers)} ${valuesOf(sql`unit_now`, 'metric_now')}`,
  )
  return capValues(values, fraction)
}

/** Computes all values from raw events and caps them likewise. @param declared dimensions of the experiment */
export async function readCappedRaw(
  em: EntityManager,
  run: MeasuredRun,
  measure: MeasureDefinition,
  fraction: number,
  view: View,
  declared: readonly string[],
  crossovers: CrossoverRule,
): Promise<Capped> {
  const chunks: Values[][] = []
  for await (const person of chunksOf(em, run))
    chunks.push(
      await execute(
        em,
        sql<Values>`
          with ${person}, ${counted(null, run.id, rawFilterOf(run, view, declared, asMeasures(run, [measure])))}
          ${valuesOf(sql`(select x.* from fresh_unit x where ${isCounted('x', crossovers)})`, 'fresh_metric')}`,
      ),
    )
  return capValues(chunks.flat(), fraction)
}

/**
 * Caps the values and adds them up by variant and period. A counted user without a value has the value 0. The sums are
 * compensated, so that they do not depend on the order of the users.
 */
function capValues(rows: readonly Values[], fraction: number): Capped {
  const users = sum(rows.map(({ n }) => n))
  const valued = rows.flatMap(({ nums, pre_nums, ...row }) => (nums && pre_nums ? [{ ...row, nums, pre_nums }] : []))
  const capOf = (column: 'nums' | 'pre_nums') => {
    if (users === 0) return null
    const all = new Float64Array(users)
    let filled = 0
    for (const row of valued) {
      all.set(row[column], filled)
      filled += row[column].length
    }
    return all.sort()[quantileRank(users, fraction) - 1] as number
  }
  const caps: Capped['caps'] = { outcome: capOf('nums'), covariate: capOf('pre_nums'), capped: {} }
  const sums: MetricSums[] = []
  for (const cell of Map.groupBy(valued, ({ variant_id, period }) => `${variant_id} ${period}`).values()) {
    const { variant_id: variantId, period } = cell[0] as Values
    const upTo = (cap: number | null) => (num: number) => Math.min(num, cap ?? Infinity)
    const nums = cell.flatMap((row) => row.nums.map(upTo(caps.outcome)))
    const preNums = cell.flatMap((row) => row.pre_nums.map(upTo(caps.covariate)))
    const capped = cell.flatMap((row) => row.nums).filter((num, index) => num > (nums[index] as number)).length
    caps.capped[variantId] = (caps.capped[variantId] ?? 0) + capped
    const add = (name: 'users' | 'exposing' | 'events' | 'unusable') => sum(cell.map((row) => row[name]))
    sums.push({
      ...NO_TOTALS,
      variantId,
      period,
      users: add('users'),
      exposing: add('exposing'),
      events: add('events'),
      unusable: add('unusable'),
      num: sum(nums),
      preNum: sum(preNums),
      numNum: sum(nums.map((num) => num ** 2)),
      numPreNum: sum(nums.map((num, index) => num * (preNums[index] as number))),
      preNumPreNum: sum(preNums.map((num) => num ** 2)),
    })
  }
  return { caps, sums }
}
