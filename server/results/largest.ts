import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { MetricStatistics, MetricSums, SummedMetric } from '../analysis/statistics.ts'
import { EXTREME_RATIO } from '../analysis/value-warnings.ts'
import { execute, list } from '../database/sql.ts'
import type { QueryReading } from './measured.ts'
import { exposedUntilOf } from './rows.ts'
import type { MeasuredRun } from './totals.ts'
import { type UsersAsked, usersNow } from './users.ts'

/**
 * Finds values of users that are too large to be true. Totals hold neither the largest value nor the median, since a
 * recount could not take a value out of them. But the sum of squares bounds the largest value, and the median is known
 * from a sample, so that all users are read only where a value may be extreme.
 */

/** The users of whom the sample of a metric consists: the first ones by id. */
const SAMPLE = 500

/** Reads the largest value and the median of each metric that may hold an extreme value, and notes them. */
export async function readLargest(
  em: EntityManager,
  { run, query, correction: { userIds }, rows, units }: QueryReading,
  metrics: readonly MetricStatistics[],
): Promise<void> {
  if (rows.isRaw || units.length === 0) return
  const suspects = metrics.flatMap((metric, index) => {
    const spec = query.specs[index]
    const isRead = metric.kind === 'mean' || metric.kind === 'ratio'
    return isRead && metric.caps === null && spec?.measureId && mayBeExtreme(metric.sums)
      ? [{ metric, spec, index, measureId: spec.measureId }]
      : []
  })
  if (suspects.length === 0) return
  const medians = await sampleMedians(
    em,
    run,
    suspects.map(({ measureId }) => measureId),
  )
  for (const { metric, spec, index, measureId } of suspects) {
    const median = medians.get(measureId)
    if (median === undefined || Math.sqrt(add(metric.sums, 'numNum')) <= EXTREME_RATIO * median) continue
    metric.largest = await readExactly(em, run, measureId, {
      userIds,
      exposedUntil: exposedUntilOf(spec, index, rows),
      crossovers: query.question.crossovers,
    })
  }
}

const add = (sums: readonly MetricSums[], name: 'users' | 'num' | 'numNum') =>
  sums.reduce((total, row) => total + row[name], 0)

/**
 * Tells whether a sample is worth its time: with few users it costs nothing, and with many a value of 1e6 times the
 * median stands out, the square root of the sum of squares being then far above the mean.
 */
function mayBeExtreme(sums: readonly MetricSums[]): boolean {
  const users = add(sums, 'users')
  return users > 1 && (users <= SAMPLE || Math.sqrt(add(sums, 'numNum')) > (1000 * Math.abs(add(sums, 'num'))) / users)
}

/** Reads the median of the absolute values other than 0 of the first users by id, by measure. */
async function sampleMedians(em: EntityManager, run: MeasuredRun, measureIds: readonly number[]) {
  const found = await execute(
    em,
    sql<{ id: number; median: number | null }>`
      select j.id::int as id, (
        select (percentile_disc(0.5) within group (order by abs(s.num)))::float8 from (
          select m.num from unit_metrics m where m.run_id = ${run.id} and m.measure_id = j.id::int
          order by m.user_id limit ${SAMPLE}::int) s
        where s.num <> 0) as median
      from ${list([...new Set(measureIds)])} as j (id)`,
  )
  return new Map(found.flatMap(({ id, median }) => (median === null ? [] : [[id, median] as const])))
}

async function readExactly(
  em: EntityManager,
  run: MeasuredRun,
  measureId: number,
  asked: UsersAsked,
): Promise<SummedMetric['largest']> {
  const [found] = await execute(
    em,
    sql<{ value: number | null; median: number | null }>`
      with ${usersNow(run, measureId, ['num'], asked)}
      select max(abs(m.num))::float8 as value,
        (percentile_disc(0.5) within group (order by abs(m.num)))::float8 as median
      from unit_now u join metric_now m on m.user_id = u.user_id where m.num <> 0`,
  )
  return found?.value == null || found.median === null ? null : { value: found.value, median: found.median }
}
