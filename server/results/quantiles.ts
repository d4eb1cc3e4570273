import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import type { QuantileMetric, QuantileSums } from '../analysis/statistics.ts'
import { execute } from '../database/sql.ts'
import type { MeasureDefinition } from '../metrics/measure-definition.ts'
import { summarizeQuantile } from '../statistics/quantile.ts'
import { counted } from '../totals/counting.ts'
import { planForChunks } from '../totals/progress.ts'
import { chunksOf } from './chunks.ts'
import { asMeasures, rawFilterOf, type View } from './raw.ts'
import type { MeasuredRun } from './totals.ts'
import { countedUnits, type UsersAsked, usersNow } from './users.ts'

/**
 * Reads the figures of a quantile for each variant: order statistics, and sums over users of their events and of the
 * events at or below the quantile. Every event may move the quantile, so totals keep the number of each event, and
 * answers read all of them. Variants with too few events are left out.
 */

/** A variant in a period, and for each of its users with an event the numbers of the user's events. */
type Clusters = { variant_id: number; period: number; clusters: number[][] }
/** The quantiles of all periods together, and those of each period alone where there are several. */
type Quantiles = Pick<QuantileMetric, 'quantiles' | 'strata'>

const clustersOf = (units: RawBuilder<unknown>, metrics: string) => sql<Clusters>`
  select u.variant_id, u.period, json_agg(m.numbers) as clusters
  from ${units} u join ${sql.table(metrics)} m on m.user_id = u.user_id
  where m.numbers is not null group by u.variant_id, u.period`

/**
 * Reads a quantile from the numbers that totals keep.
 * @param fraction of the events below the quantile, such as 0.95
 * @param confidenceLevel of the order statistics around the quantile
 * @param asked the users; the numbers of those with unfolded events are read from raw events instead
 */
export async function readQuantile(
  em: EntityManager,
  run: MeasuredRun,
  measureId: number,
  fraction: number,
  confidenceLevel: number,
  asked: UsersAsked,
): Promise<Quantiles> {
  await planForChunks(em)
  const found = await execute(
    em,
    sql<Clusters>`with ${usersNow(run, measureId, ['numbers'], asked)} ${clustersOf(sql`unit_now`, 'metric_now')}`,
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
  asked: Omit<UsersAsked, 'userIds'>,
): Promise<Quantiles> {
  const chunks: Clusters[][] = []
  for await (const person of chunksOf(em, run))
    chunks.push(
      await execute(
        em,
        sql<Clusters>`
          with ${person}, ${counted(null, run.id, rawFilterOf(run, view, declared, asMeasures(run, [measure])))}
          ${clustersOf(countedUnits(asked), 'fresh_metric')}`,
      ),
    )
  return summarize(chunks.flat(), fraction, confidenceLevel)
}

function summarize(found: readonly Clusters[], fraction: number, confidenceLevel: number): Quantiles {
  const periods = [...new Set(found.map(({ period }) => period))].sort((one, other) => one - other)
  const quantilesOf = (rows: readonly Clusters[]) => summarizeVariants(rows, fraction, confidenceLevel)
  return {
    quantiles: quantilesOf(found),
    strata:
      periods.length < 2
        ? []
        : periods.flatMap((period) =>
            quantilesOf(found.filter((row) => row.period === period)).map((sums) => ({ ...sums, period })),
          ),
  }
}

function summarizeVariants(found: readonly Clusters[], fraction: number, confidenceLevel: number): QuantileSums[] {
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
