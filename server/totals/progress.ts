import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute, list } from '../database/sql.ts'
import { type Cursor, cursorOf, people } from './counting.ts'

/** Reads and moves the cursor of the totals, and finds what the fold has to do next. */

/**
 * Turns off nested loops and the JIT compiler until the transaction ends. PostgreSQL has no statistics on a chunk's
 * rows: expecting few, the planner would join chunks by nested loops over every pair, and compiling the plan would take
 * longer than running it.
 * @throws Error outside a transaction, where the settings would be lost: 10,000 users then take minutes
 */
export async function planForChunks(em: EntityManager): Promise<void> {
  if (!em.isInTransaction()) throw new Error('Chunks are read in a transaction')
  await em.execute(`select set_config('jit', 'off', true), set_config('enable_nestloop', 'off', true)`)
}

/** The events of one pass: from the cursor to the last settled event, but at most as many as requested. */
export type Batch = {
  from: Cursor
  /** The last event of the pass; `from` where there is none. */
  to: Cursor
  events: number
  types: string[]
  /** The pass reached the requested number of events, so that there may be more. */
  more: boolean
  /** Every transaction below this id is settled: committed and visible, or rolled back. */
  horizon: string
  assignment_xid: string
}

/** Reads the bounds of the next pass. @param maxEvents the most events of the pass */
export async function readBatch(em: EntityManager, maxEvents: number): Promise<Batch> {
  const rows = await execute(
    em,
    sql<{
      event_xid: string
      event_id: string
      assignment_xid: string
      horizon: string
      to_xid: string | null
      to_id: string | null
      events: number
      types: string[]
    }>`
      with state as materialized (
        select s.event_xid, s.event_id, s.assignment_xid, recorded_horizon() as horizon from fold_state s),
      batch as materialized (
        select e.xid, e.id, e.type from events e
        where (e.xid, e.id) > ((select s.event_xid from state s), (select s.event_id from state s))
          and e.xid < (select s.horizon from state s)
        order by e.xid, e.id limit ${maxEvents}::int)
      select s.event_xid::text as event_xid, s.event_id::text as event_id, s.assignment_xid::text as assignment_xid,
        s.horizon::text as horizon, last.xid::text as to_xid, last.id::text as to_id,
        (select count(*) from batch)::int as events,
        (select coalesce(json_agg(distinct b.type), '[]') from batch b) as types
      from state s left join (select b.xid, b.id from batch b order by b.xid desc, b.id desc limit 1) last on true`,
  )
  const row = rows[0]
  if (!row) throw new Error('The table fold_state has no row: restore the database from a backup')
  const from = { xid: row.event_xid, id: Number(row.event_id) }
  return {
    from,
    to: row.to_xid === null ? from : { xid: row.to_xid, id: Number(row.to_id) },
    events: row.events,
    types: row.types,
    more: row.events === maxEvents,
    horizon: row.horizon,
    assignment_xid: row.assignment_xid,
  }
}

type LogEntry = { id: number; user_id: string | null; replacement: string | null; run_id: number | null }

/**
 * Deletes and returns the settled entries of the log of reasons for a recount, in the order in which they were made.
 */
export async function takeLog(em: EntityManager, horizon: string): Promise<LogEntry[]> {
  const rows = await execute(
    em,
    sql<LogEntry>`
      delete from fold_log l where l.xid < ${horizon}::text::xid8
      returning l.id::float8 as id, l.user_id, l.replacement, l.run_id`,
  )
  return rows.sort((one, other) => one.id - other.id)
}

/**
 * Finds users with events after the end of a run. Totals may hold these events, if they were counted before the run
 * ended.
 * @param upTo the last event that was counted before the end; null: all stored events
 */
export async function findAfterEnd(em: EntityManager, runId: number, upTo: Cursor | null): Promise<string[]> {
  const until = upTo === null ? sql`` : sql`and (e.xid, e.id) <= ${cursorOf(upTo)}`
  const rows = await execute(
    em,
    sql<{ user_id: string }>`
      with run as materialized (select r.experiment_id, r.ended_at from runs r where r.id = ${runId}
        and r.ended_at is not null)
      select distinct e.user_id from run cross join lateral (
        select e.user_id from events e
        where e.experiment_id = run.experiment_id and e.timestamp >= run.ended_at ${until}
        union all
        select e.user_id from events e
        where e.experiment_id is null and e.timestamp >= run.ended_at ${until}) e`,
  )
  return rows.map((row) => row.user_id)
}

/**
 * Finds users whose assignments changed since the last pass. The users of one transaction are taken all or not at all,
 * and only with all of its events: an event that is added later does not say that it exposed its user.
 *
 * An example: transaction 7 changed ann and bob, 8 changed cat, 9 is the horizon, and at most 2 users are requested:
 *
 *     cut     8: the transaction of the third user
 *     until   8: all transactions before 8 are taken
 *     row     user_ids ann, bob; next 8. With at most 1 user, cut is 7 itself, which is taken whole: until is 8 again
 *
 * @returns the users, and the transaction with which the next pass begins
 */
export async function findChanged(
  em: EntityManager,
  { assignment_xid: from, horizon, to, more: isCut }: Batch,
  max: number,
): Promise<{ userIds: string[]; next: string; more: boolean }> {
  // A cut batch may hold the last transaction in part.
  const complete = isCut ? (BigInt(to.xid) > BigInt(from) ? to.xid : from) : horizon
  const rows = await execute(
    em,
    sql<{ next: string; user_ids: string[] }>`
      with cut as materialized (
        select a.xid from assignments a
        where a.xid >= ${from}::text::xid8 and a.xid < ${complete}::text::xid8
        order by a.xid offset ${max}::int limit 1),
      until as materialized (
        -- A transaction with more users than requested is taken whole.
        select coalesce(
          case when cut.xid = ${from}::text::xid8 then (
            select min(a.xid) from assignments a where a.xid > cut.xid and a.xid < ${complete}::text::xid8)
              else cut.xid end,
          ${complete}::text::xid8) as xid
        from (select 1) one left join cut on true)
      select until.xid::text as next, coalesce((
        select json_agg(distinct a.user_id) from assignments a
        where a.xid >= ${from}::text::xid8 and a.xid < until.xid), '[]') as user_ids
      from until`,
  )
  const { next, user_ids: userIds } = rows[0] as { next: string; user_ids: string[] }
  return { userIds, next, more: next !== complete }
}

/** Stores the new cursor. */
export async function moveCursor(em: EntityManager, to: Cursor, assignmentXid: string) {
  await execute(
    em,
    sql`
      update fold_state set event_xid = ${to.xid}::text::xid8, event_id = ${String(to.id)}::text::bigint,
        assignment_xid = ${assignmentXid}::text::xid8, folded_at = now_ms()`,
  )
}

/** Finds the persons that ids belong to. @returns the ids of the persons, and the given ids */
export async function findPeople(em: EntityManager, userIds: readonly string[]): Promise<string[]> {
  const rows = await execute(em, sql<{ id: string }>`with ${people(userIds)} select touched.id from touched`)
  return rows.map((row) => row.id)
}

/** The condition that event `e` is after the cursor of the totals `s`. */
const aboveCursor = sql`(e.xid, e.id) > (s.event_xid, s.event_id)`

/**
 * Tells whether any stored row is not in the totals yet. The statement uses `order by … limit 1` and not `exists`: so
 * the planner reads the end of an index even without statistics, and never scans the table.
 * @param before considers only rows of earlier transactions; null: all rows
 */
export async function isBehind(em: EntityManager, before: string | null): Promise<boolean> {
  const earlier = (xid: string) => (before === null ? sql`` : sql`and ${sql.ref(xid)} < ${before}::text::xid8`)
  const rows = await execute(
    em,
    sql<{ behind: boolean }>`
      select coalesce((select true from events e where ${aboveCursor} ${earlier('e.xid')} order by e.xid, e.id limit 1),
        (select true from assignments a where a.xid >= s.assignment_xid ${earlier('a.xid')} order by a.xid limit 1),
        (select true from fold_log l where true ${earlier('l.xid')} limit 1), false) as behind
      from fold_state s`,
  )
  return rows[0]?.behind ?? false
}

/** Reads the id of the next transaction. */
export async function readNextXid(em: EntityManager): Promise<string> {
  const rows = await execute(em, sql<{ xid: string }>`select recorded_next()::text as xid`)
  return rows[0]?.xid as string
}

/** Reads a text that changes whenever totals change. */
export async function readMark(em: EntityManager): Promise<string> {
  const rows = await execute(
    em,
    sql<{ mark: string }>`
      select concat_ws(' ', s.event_xid, s.event_id, s.assignment_xid, (
        select count(*) from run_metrics rm where rm.ready_at is not null), (
        select max(r.frozen_at) from runs r)) as mark
      from fold_state s`,
  )
  return rows[0]?.mark ?? ''
}

export type FoldState = { lag_seconds: number; tail: number }

/** Reads the age of the oldest event that totals do not hold yet, and the number of such events, at most `max`. */
export async function readFoldState(em: EntityManager, max: number): Promise<FoldState> {
  const rows = await execute(
    em,
    sql<FoldState>`
      with tail as materialized (
        select e.received_at from fold_state s
        cross join lateral (select e.received_at from events e where ${aboveCursor} order by e.xid,
          e.id limit ${max}::int) e)
      select coalesce(extract(epoch from clock_timestamp() - min(t.received_at)), 0)::float8 as lag_seconds,
        count(*)::int as tail
      from tail t`,
  )
  return rows[0] as FoldState
}

type PendingRun = { run_id: number; measure_ids: number[]; filled_to: string | null }

/** Finds a run with measures that are not ready, and the last user id that all of them hold. @param runId null: any run */
export async function findPending(em: EntityManager, runId: number | null): Promise<PendingRun | undefined> {
  const rows = await execute(
    em,
    sql<PendingRun>`
      select rm.run_id, json_agg(rm.measure_id) as measure_ids,
        (array_agg(rm.filled_to order by rm.filled_to nulls first))[1] as filled_to
      from run_metrics rm
      where rm.ready_at is null ${runId === null ? sql`` : sql`and rm.run_id = ${runId}`}
      group by rm.run_id order by rm.run_id limit 1`,
  )
  return rows[0]
}

/** Finds the next users of a run to fill in, in ascending order of ids. */
export async function findUsers(em: EntityManager, { run_id, filled_to }: PendingRun, max: number): Promise<string[]> {
  const rows = await execute(
    em,
    sql<{ user_id: string }>`
      select a.user_id from assignments a where a.run_id = ${run_id} and a.user_id > ${filled_to ?? ''}
      order by a.user_id limit ${max}::int`,
  )
  return rows.map((row) => row.user_id)
}

/**
 * Stores the last user id that the measures hold. Measures that were registered since they were found are left pending:
 * the recount may not have seen them.
 * @param filledTo null: the measures are complete
 */
export async function noteFilled(em: EntityManager, { run_id, measure_ids }: PendingRun, filledTo: string | null) {
  await execute(
    em,
    sql`
      update run_metrics set filled_to = ${filledTo}::text, ready_at = ${filledTo === null ? sql`now_ms()` : sql`null`}
      where run_id = ${run_id} and measure_id in (select i.id::int from ${list(measure_ids)} as i (id))`,
  )
}
