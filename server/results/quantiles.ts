import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import type { CrossoverRule, QuantileSums } from '../analysis/statistics.ts'
import { execute } from '../database/sql.ts'
import type { MeasureDefinition } from '../metrics/measure-definition.ts'
import { summarizeQuantile } from '../statistics/quantile.ts'
import { isCounted } from '../totals/adding.ts'
import { counted } from '../totals/counting.ts'
import { planForChunks } from '../totals/progress.ts'
import { chunksOf } from './chunks.ts'
import { asMeasures, rawFilterOf, type View } from './raw.ts'
import type { MeasuredRun } from './totals.ts'
import { usersNow } from './users.ts'

/**
 * Reads the figures of a quantile for each variant: order statistics, and sums over users of their events and of the
 * events at or below the quantile. Every event may move the quantile, so totals keep the number of each event, and
 * answers read all of them. Variants with too few events are left out.
 */

/** A variant, and for each of its users with an event the numbers of the user's events. */
type Clusters = { variant_id: number; clusters: number[][] }

const clustersOf = (units: RawBuilder<unknown>, metrics: string) => sql<Clusters>`
  select u.variant_id, json_agg(m.numbers) as clusters
  from ${units} u join ${sql.table(metrics)} m on m.user_id = u.user_id
  where m.numbers is not null group by u.variant_id`

/**
 * Reads a quantile from the numbers that totals keep.
 * @param fraction of the events below the quantile, such as 0.95
 * @param confidenceLevel of the order statistics around the quantile
 * @param userIds users with unfolded events, whose numbers are read from raw events instead
 * @param crossovers 'first': crossovers count, too
 */
export async function readQuantile(
  em: EntityManager,
  run: MeasuredRun,
  measureId: number,
  fraction: number,
  confidenceLevel: number,
  userIds: readonly string[],
  crossovers: CrossoverRule,
): Promise<QuantileSums[]> {
  await planForChunks(em)
  const found = await execute(
    em,
    sql<Clusters>`
      with ${usersNow(run, measureId, ['numbers'], userIds, crossovers)} ${clustersOf(sql`unit_now`, 'metric_now')}`,
  )
  return summarize(found, fraction, confidenceLevel)
}

/** Reads a quantile from the raw events of every user. @param declared dimensions of the experiment */
export async function readQuantileRaw(
  em: EntityManager,
  run: MeasuredRun,
  measure: MeasureDefinition,
  fraction: number,
  confidenceLevel: number,
  view: View,
  declared: readonly string[],
  crossovers: CrossoverRule,
): Promise<QuantileSums[]> {
  const chunks: Clusters[][] = []
  for await (const person of chunksOf(em, run))
    chunks.push(
      await execute(
        em,
        sql<Clusters>`
          with ${person}, ${counted(null, run.id, rawFilterOf(run, view, declared, asMeasures(run, [measure])))}
          ${clustersOf(sql`(select x.* from fresh_unit x where ${isCounted('x', crossovers)})`, 'fresh_metric')}`,
      ),
    )
  return summarize(chunks.flat(), fraction, confidenceLevel)
}

function summarize(found: readonly Clusters[], fraction: number, confidenceLevel: number): QuantileSums[] {
  const byVariant = Map.groupBy(found, ({ variant_id }) => variant_id)
  return [...byVariant]
    .toSorted(([one], [other]) => one - other)
    .flatMap(([variantId, rows]) => {
      const clusters = rows.flatMap((row) => row.clusters)
      const summary = summarizeQuantile(clusters, fraction, confidenceLevel)
      if (!summary) return []
      const { ranks: _, ...sums } = summary
      return [{ variantId, ...sums }]
    })
}
