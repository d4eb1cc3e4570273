import { type EntityManager, IsolationLevel } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import { execute } from '../database/sql.ts'
import { UNIT_COLUMNS, UNIT_METRIC_COLUMNS } from './columns.ts'
import { columns } from './counting.ts'
import { planForChunks } from './progress.ts'
import {
  days,
  findUsersAfter,
  hourSums,
  metricSums,
  overPersons,
  quarters,
  readScope,
  type Scope,
  storedDays,
  storedHourSums,
  storedMetricSums,
  storedQuarters,
  storedUnitSums,
  unitSums,
} from './whole.ts'

const CHUNK = 2000

/**
 * Compares all totals with the figures computed from raw rows, in one snapshot. Rows that are not folded yet are left
 * out on both sides.
 * @returns a sentence with the first difference; null where there is none
 */
export function verifyTotals(em: EntityManager): Promise<string | null> {
  return em.transactional(
    async (em) => {
      await planForChunks(em)
      const scope = await readScope(em)
      const outdated = await findOutdated(em)
      for (let last: string | undefined = ''; last !== undefined; ) {
        const userIds = await findUsersAfter(em, last, CHUNK)
        const settled = userIds.filter((id) => !outdated.has(id))
        const difference = settled.length === 0 ? null : await comparePeople(em, settled, scope)
        if (difference) return difference
        last = userIds.at(-1)
      }
      return (
        (await compare(em, 'variant_units', unitSums, storedUnitSums)) ??
        (await compare(em, 'exposure_hours', hourSums, storedHourSums)) ??
        (await compare(em, 'variant_metrics', metricSums, storedMetricSums)) ??
        (await compare(em, 'event_quarters', quarters(scope), storedQuarters(scope)))
      )
    },
    { isolationLevel: IsolationLevel.REPEATABLE_READ, readOnly: true },
  )
}

/** Reads the persons who must still be recounted, so that their totals are out of date. */
async function findOutdated(em: EntityManager): Promise<Set<string>> {
  const rows = await execute(
    em,
    sql<{ id: string }>`
      with named as (
        select a.user_id as id from fold_state s join assignments a on a.xid >= s.assignment_xid
        union select l.user_id from fold_log l union select l.replacement from fold_log l)
      select n.id from named n where n.id is not null
      union select l.user_id from named n join aliases l on l.alias_id = n.id
      union select l.alias_id from named n join aliases l on l.user_id = n.id`,
  )
  return new Set(rows.map((row) => row.id))
}

async function comparePeople(em: EntityManager, userIds: readonly string[], scope: Scope): Promise<string | null> {
  const ofPeople = (statement: RawBuilder<unknown>) => overPersons(userIds, scope.upTo, statement)
  const unit = columns(UNIT_COLUMNS, 'u')
  const metric = columns(UNIT_METRIC_COLUMNS, 'm')
  // A measure that is still being filled in is complete only for some persons, so it is not compared.
  const ready = sql`join run_metrics rm on rm.run_id = m.run_id and rm.measure_id = m.measure_id
    and rm.ready_at is not null`
  const filled = sql`join run_metrics rm on rm.run_id = u.run_id and rm.ready_at is not null`
  return (
    (await compare(
      em,
      'units',
      ofPeople(sql`select distinct ${unit} from fresh_unit u ${filled}`),
      ofPeople(sql`select distinct ${unit} from stored_unit u ${filled}`),
    )) ??
    (await compare(
      em,
      'unit_metrics',
      ofPeople(sql`select ${metric} from fresh_metric m ${ready}`),
      ofPeople(sql`select ${metric} from stored_metric m ${ready}`),
    )) ??
    (await compare(em, 'user_days', days(scope, userIds), storedDays(scope, userIds)))
  )
}

/** @returns one row that only raw rows give and one that only totals have, as text; null where both sides are equal */
async function compare(
  em: EntityManager,
  table: string,
  raw: RawBuilder<unknown>,
  totals: RawBuilder<unknown>,
): Promise<string | null> {
  const rows = await execute(
    em,
    sql<{ side: string; row: object }>`
      with raw as materialized (${raw}), totals as materialized (${totals})
      (select 'the raw rows say' as side, to_json(x) as row from (select * from raw except select *
        from totals) x limit 1)
      union all
      (select 'the totals say', to_json(x) from (select * from totals except select * from raw) x limit 1)`,
  )
  if (rows.length === 0) return null
  return `${table}: ${rows.map(({ side, row }) => `${side} ${JSON.stringify(row)}`).join(', ')}`
}
