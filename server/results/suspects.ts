import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { Suspect } from '../analysis/statistics.ts'
import { execute } from '../database/sql.ts'
import { type MeasuredRun, readTotals } from './totals.ts'

/**
 * Counts users by every value that may explain a sample-ratio mismatch: dimensions, days, sources and segments. The
 * counts are costly, so only a mismatch calls for them.
 * @param declared dimensions of the experiment
 * @param unfolded users with unfolded events
 */
export async function findSuspects(
  em: EntityManager,
  run: MeasuredRun,
  declared: readonly string[],
  unfolded: readonly string[],
  timeZone: string,
): Promise<Suspect[]> {
  const { units } = await readTotals(em, run, [], declared, unfolded, 'exclude')
  const groups = [
    ...units.map((row) => ({ ...row, by: row.dimension, value: row.dimension_value })),
    ...(await readSuspects(em, run, timeZone)),
  ]
  const suspects = new Map<string, Suspect>()
  for (const { by, value, variant_id: variantId, period, drawn, drawn_exposed: drawnExposed } of groups) {
    const key = JSON.stringify([by, value])
    const suspect = suspects.get(key) ?? { by, value, counts: [] }
    suspect.counts.push({ variantId, period, drawn, drawnExposed })
    suspects.set(key, suspect)
  }
  return [...suspects.values()]
}

type SuspectRow = {
  by: string
  value: string
  variant_id: number
  period: number
  drawn: number
  drawn_exposed: number
}

/**
 * Counts users by day, source, source of the exposure, and segment.
 *
 * An example: ann was drawn on Monday by hash, exposed by a check, and is a member of a segment:
 *
 *     drawn     (ann, blue, source hash, exposure_source check, day 2026-01-05)
 *     grouped   (day, 2026-01-05), (source, hash), (exposure_source, check), (segment, staff), each of blue
 *     rows      a row for each of the four: drawn 1, drawn_exposed 1
 */
async function readSuspects(em: EntityManager, run: MeasuredRun, timeZone: string): Promise<SuspectRow[]> {
  const rows = await execute(
    em,
    sql<SuspectRow>`
      with drawn as materialized (
        select a.user_id, a.variant_id, a.period, a.source, a.exposure_source, a.exposed_at,
          (a.assigned_at at time zone ${timeZone})::date::text as day
        from assignments a where a.run_id = ${run.id} and a.source <> 'event'),
      grouped as (
        select 'day' as by, d.day as value, d.variant_id, d.period, d.exposed_at from drawn d
        union all select 'source', d.source, d.variant_id, d.period, d.exposed_at from drawn d
        union all select 'exposure_source', d.exposure_source, d.variant_id, d.period, d.exposed_at from drawn d
          where d.exposure_source is not null
        union all
        select 'segment', s.name, d.variant_id, d.period, d.exposed_at
        from user_segments m join segments s on s.id = m.segment_id join drawn d on d.user_id = m.user_id)
      select t.by, t.value, t.variant_id, t.period, count(*)::int as drawn, count(t.exposed_at)::int as drawn_exposed
      from grouped t group by t.by, t.value, t.variant_id, t.period`,
  )
  return rows
}
