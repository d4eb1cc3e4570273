import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { lock } from '../database/locks.ts'
import { execute } from '../database/sql.ts'
import { UNIT_COLUMNS, UNIT_METRIC_COLUMNS } from './columns.ts'
import { columns } from './counting.ts'
import { moveCursor, planForChunks, readBatch, takeLog } from './progress.ts'
import { moveErased } from './queries.ts'
import {
  days,
  findUsersAfter,
  hourColumns,
  hourSums,
  metricColumns,
  metricSums,
  overPersons,
  quarters,
  readScope,
  unitColumns,
  unitSums,
} from './whole.ts'

const CHUNK = 5000

/**
 * Computes all totals of unfrozen runs again from raw rows, in one transaction. Answers are read from the old totals
 * until the transaction ends, and events that arrive meanwhile are folded afterwards. Days whose raw events were
 * dropped keep their totals.
 * @param progress receives the number of users that are done
 */
export function rebuildTotals(orm: MikroORM, progress: (users: number) => void): Promise<void> {
  return orm.em.fork().transactional(async (em) => {
    await lock(em, 'fold')
    await planForChunks(em)
    await takeEverything(em)
    const scope = await readScope(em)
    const since = scope.since?.toISOString() ?? '-infinity'
    const ofLiveRuns = (table: string) => sql`
      delete from ${sql.table(table)} x using runs r where r.id = x.run_id and r.frozen_at is null`
    for (const table of ['units', 'unit_metrics', 'variant_units', 'exposure_hours', 'variant_metrics'])
      await execute(em, ofLiveRuns(table))
    // The alert monitor computes the running looks of past days again. Planned looks and decisions stand.
    await execute(em, sql`${ofLiveRuns('run_looks')} and x.planned is null`)
    await execute(
      em,
      sql`
        delete from user_days d where d.day >= (${since}::timestamptz at time zone ${scope.timeZone})::date`,
    )
    await execute(em, sql`delete from event_quarters q where q.quarter >= ${since}::timestamptz`)

    let users = 0
    for (let last: string | undefined = ''; last !== undefined; ) {
      const userIds = await findUsersAfter(em, last, CHUNK)
      if (userIds.length > 0) {
        await execute(
          em,
          sql`insert into user_days (user_id, type_id, day, events, value, unusable) ${days(scope, userIds)}`,
        )
        await execute(em, overPersons(userIds, scope.upTo, storeUnits))
      }
      users += userIds.length
      progress(users)
      last = userIds.at(-1)
    }
    await execute(em, sql`insert into variant_units (${unitColumns}) ${unitSums}`)
    await execute(em, sql`insert into exposure_hours (${hourColumns}) ${hourSums}`)
    await execute(em, sql`insert into variant_metrics (${metricColumns}) ${metricSums}`)
    await execute(
      em,
      sql`
        insert into event_quarters (experiment_id, quarter, variant_id, type_id, events, value) ${quarters(scope)}`,
    )
    await execute(
      em,
      sql`
        update run_metrics rm set ready_at = now_ms(), filled_to = null from runs r
        where r.id = rm.run_id and r.frozen_at is null and rm.ready_at is null`,
    )
  })
}

/** Moves the cursor to the horizon: the rebuild counts all settled rows. */
async function takeEverything(em: EntityManager) {
  const { horizon } = await readBatch(em, 1)
  // Days whose raw events were dropped are kept, so their rows must move to the random id.
  for (const { user_id, replacement } of await takeLog(em, horizon))
    if (user_id !== null && replacement !== null) await moveErased(em, user_id, replacement)
  await execute(
    em,
    sql`
      insert into event_types (name) select distinct e.type from events e where e.xid < ${horizon}::text::xid8
      on conflict (name) do nothing`,
  )
  await moveCursor(em, { xid: horizon, id: 0 }, horizon)
}

/** Stores the units of a chunk. Two chunks may hold the same person under different ids: both count the same. */
const storeUnits = sql`,
  put_units as (
    insert into units (${columns(UNIT_COLUMNS)})
    select ${columns(UNIT_COLUMNS, 'u')} from fresh_unit u on conflict (user_id, run_id) do nothing)
  insert into unit_metrics (${columns(UNIT_METRIC_COLUMNS)})
  select ${columns(UNIT_METRIC_COLUMNS, 'm')} from fresh_metric m on conflict (user_id, run_id, measure_id) do nothing`
