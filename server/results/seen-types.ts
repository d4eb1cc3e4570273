import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { MetricStatistics, RunStatistics } from '../analysis/statistics.ts'
import { execute } from '../database/sql.ts'
import { EXPOSURE_EVENT } from '../wire.ts'
import type { MeasuredRun, UnitRow } from './totals.ts'

/** Looks for the event types that users sent instead, where a metric has no event: a misspelt type is the usual reason. */

/** The most users, and events of a user, that are read. Events and assignments are read raw, so that none is unfolded. */
const MOST = { users: 1000, events: 50, types: 10 }

/**
 * Reads the types of the events that exposed users sent since their exposure, most users first. It reads at most 50
 * events of each of 1,000 users, the first ones by id.
 * @returns null unless a metric could have events and has none
 */
export async function readSeenTypes(
  em: EntityManager,
  run: MeasuredRun,
  metrics: readonly MetricStatistics[],
  units: readonly UnitRow[],
): Promise<RunStatistics['seenEventTypes']> {
  const users = units.reduce((sum, row) => sum + row.users, 0)
  if (users === 0 || !metrics.some((metric) => lacksEvents(metric))) return null
  return execute(
    em,
    sql<{ type: string; users: number; events: number }>`
      with exposed as materialized (
        select coalesce(l.user_id, a.user_id) as person_id, min(a.exposed_at) as exposed_at
        from (
          select a.user_id, a.exposed_at from assignments a
          where a.run_id = ${run.id} and a.exposed_at is not null and a.excluded_reason is null
          order by a.user_id limit ${MOST.users}::int) a
        left join lateral (select l.user_id from aliases l where l.alias_id = a.user_id offset 0) l on true
        group by 1),
      id as materialized (
        select x.person_id, x.person_id as user_id, x.exposed_at from exposed x
        union all
        select x.person_id, l.alias_id, x.exposed_at from exposed x
        cross join lateral (select l.alias_id from aliases l where l.user_id = x.person_id offset 0) l)
      select e.type, count(distinct i.person_id)::int as users, count(*)::int as events
      from id i cross join lateral (
        select e.type from events e
        where e.user_id = i.user_id and e.timestamp >= i.exposed_at and e.type <> ${EXPOSURE_EVENT}
        order by e.timestamp limit ${MOST.events}::int) e
      group by e.type order by users desc, events desc, e.type limit ${MOST.types}::int`,
  )
}

/** Tells whether a metric saw no event of any variant, although the windows of some users are over. */
function lacksEvents(metric: MetricStatistics): boolean {
  if (metric.status !== 'ready' || metric.observed?.every(({ users }) => users === 0)) return false
  const sums = metric.kind === 'quantile' ? metric.counts : metric.sums
  return sums?.every(({ events }) => events === 0) ?? false
}
