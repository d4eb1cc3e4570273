import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute, list } from '../database/sql.ts'
import { unavailable } from '../errors.ts'
import type { Totals } from '../totals/worker.ts'
import type { ResultsQuery } from './query.ts'
import { keyOfType, type Spec } from './specs.ts'

/** Looks up event types among the measures of a run, or registers them, so that totals hold them from now on. */

/** How long the first question about an event type waits until past events are counted. */
const FILL_MS = 20_000

/** An event type that is a measure of a run. `ready`: past events are counted. */
export type MeasuredType = { measure_id: number; ready: boolean }

/** Looks up which of these event types are measures of a run. */
export async function findMeasuredTypes(
  em: EntityManager,
  runId: number,
  eventTypes: readonly string[],
): Promise<Map<string, MeasuredType>> {
  const found = await execute(
    em,
    sql<MeasuredType & { key: string }>`
      select m.key, m.id as measure_id, rm.ready_at is not null as ready
      from measures m join run_metrics rm on rm.measure_id = m.id
      where rm.run_id = ${runId} and m.key in (select i.key from ${list(eventTypes.map(keyOfType))} as i (key))`,
  )
  const byKey = new Map(found.map(({ key, measure_id, ready }) => [key, { measure_id, ready }]))
  return new Map(
    eventTypes.flatMap((type) => {
      const measured = byKey.get(keyOfType(type))
      return measured ? [[type, measured] as const] : []
    }),
  )
}

/**
 * Registers the uncounted event types of a query as measures, and waits until their past events are counted.
 * @param totals null where the caller holds the lock that counting needs: then an uncounted event type is refused
 * @returns the query with the ids of the measures
 * @throws DomainError SERVICE_UNAVAILABLE while an event type is counted for the first time
 */
export async function register(
  em: EntityManager,
  totals: Pick<Totals, 'fill'> | null,
  query: ResultsQuery,
): Promise<ResultsQuery> {
  const { run, uncounted } = query
  if (!run || uncounted.length === 0) return query
  const measureIds = new Map<string | null, number>()
  for (const { eventType, measureId } of uncounted) {
    const registered = measureId ?? (await registerType(em, run.id, eventType))
    if (registered === null) continue
    if (!(await totals?.fill(run.id, FILL_MS)))
      throw unavailable(`Events of type ${eventType} are being counted for the first time; try again soon`)
    measureIds.set(eventType, registered)
  }
  const measured = (spec: Spec): Spec => ({ ...spec, measureId: measureIds.get(spec.plainType) ?? spec.measureId })
  return { ...query, specs: query.specs.map(measured), documented: measured(query.documented), uncounted: [] }
}

/**
 * Registers an event type as a measure of a run.
 * @returns the id of the measure; null where no event of the type was ever recorded
 */
async function registerType(em: EntityManager, runId: number, eventType: string): Promise<number | null> {
  const key = keyOfType(eventType)
  const [registered] = await execute(
    em,
    sql<{ measure_id: number }>`
      with seen as (
        select 1 from event_types t where t.name = ${eventType}
        union all
        select 1 from fold_state s cross join lateral (
          select 1 from events e where (e.xid, e.id) > (s.event_xid, s.event_id) and e.type = ${eventType}
          order by e.xid, e.id limit 1) e),
      measure as (
        insert into measures (key) select ${key} where exists (select 1 from seen)
        on conflict (key) do update set key = excluded.key returning id),
      part as (
        insert into measure_parts (measure_id, part, type, property)
        select measure.id, 1, ${eventType}, 'value' from measure on conflict (measure_id, part) do nothing),
      put as (
        insert into run_metrics (run_id, measure_id) select ${runId}::int, measure.id from measure
        on conflict (run_id, measure_id) do nothing)
      select measure.id as measure_id from measure`,
  )
  return registered?.measure_id ?? null
}
