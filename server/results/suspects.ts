import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { Suspect } from '../analysis/statistics.ts'
import { type MeasuredRun, readTotals } from './totals.ts'

/** Counts of users by whatever tells them apart: only worth reading where a mismatch is to be explained. */
export async function findSuspects(
  em: EntityManager,
  run: MeasuredRun,
  declared: readonly string[],
  unfolded: readonly string[],
  timeZone: string,
): Promise<Suspect[]> {
  const { units } = await readTotals(em, run, [], declared, unfolded)
  const told = [
    ...units.map((row) => ({ ...row, by: row.dimension, value: row.dimension_value })),
    ...(await readSuspects(em, run, timeZone)),
  ]
  const suspects = new Map<string, Suspect>()
  for (const { by, value, variant_id, period, drawn, drawn_exposed } of told) {
    const key = JSON.stringify([by, value])
    const suspect = suspects.get(key) ?? { by, value, counts: [] }
    suspect.counts.push({ variant_id, period, drawn, drawn_exposed })
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

/** By what else than dimensions users can be told apart when a mismatch is looked into. */
async function readSuspects(em: EntityManager, run: MeasuredRun, timeZone: string): Promise<SuspectRow[]> {
  const { rows } = await sql<SuspectRow>`
    with drawn as materialized (
      select a.user_id, a.variant_id, a.period, a.source, a.exposure_source, a.exposed_at, (a.assigned_at at time zone ${timeZone})::date::text as day
      from assignments a where a.run_id = ${run.id} and a.source <> 'event'),
    told as (
      select 'day' as by, d.day as value, d.variant_id, d.period, d.exposed_at from drawn d
      union all select 'source', d.source, d.variant_id, d.period, d.exposed_at from drawn d
      union all select 'exposure_source', d.exposure_source, d.variant_id, d.period, d.exposed_at from drawn d where d.exposure_source is not null
      union all
      select 'segment', s.name, d.variant_id, d.period, d.exposed_at
      from user_segments m join segments s on s.id = m.segment_id join drawn d on d.user_id = m.user_id)
    select t.by, t.value, t.variant_id, t.period, count(*)::int as drawn, count(t.exposed_at)::int as drawn_exposed
    from told t group by t.by, t.value, t.variant_id, t.period`.execute(em.getKysely())
  return rows
}
