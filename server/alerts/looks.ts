import { type EntityManager, LockMode, type MikroORM } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { lastRunningLook } from '../analysis/looks.ts'
import { type Recordable, recordable, withRecords } from '../analysis/record.ts'
import type { Look, RunStatistics } from '../analysis/statistics.ts'
import { execute } from '../database/sql.ts'
import { readClock } from '../definitions/queries.ts'
import { Run } from '../experiments/entity.ts'
import { RunDecision, RunLook } from '../results/entity.ts'
import { read } from '../results/read.ts'
import { register } from '../results/register.ts'
import { replayDays } from '../results/replay.ts'
import { findRun, plainQuestion, resolve } from '../results/resolve.ts'
import type { Gathering } from '../results/service.ts'

/** Looks at the results of runs and records what was found: looks and decisions are written here and nowhere else. */

/**
 * Looks at a run with the planned question, and records what a look adds.
 * @param replays true also computes the looks of past days where the run has none of them, which reads all events
 * @returns the statistics of the look, with its records; null where the experiment has no run
 */
export async function lookAt(
  orm: MikroORM,
  { totals, timeZone }: Gathering,
  experimentId: number,
  runNumber: number | undefined,
  replays: boolean,
): Promise<RunStatistics | null> {
  const em = orm.em.fork()
  const question = plainQuestion(experimentId, runNumber)
  const found = await findRun(em, question)
  const { run } = found
  if (run === null) return null
  const query = await register(em, totals, await resolve(em, timeZone, found, question))
  const at = await readClock(em)
  const statistics = await read(em, totals, query)
  if (run.frozen_at) return statistics
  const reached = recordable(statistics, at.toISOString())
  const isFirst = lastRunningLook(statistics.looks) === null
  // The first running look of a run with past days waits for their replay.
  const hasPast = isFirst && (statistics.days ?? 0) >= 1
  if (!replays || !reached.running)
    return store(orm, run.id, statistics, hasPast ? { ...reached, running: null } : reached)
  const replayed = await replayDays(em, query, statistics, timeZone)
  const withPast = { ...statistics, looks: addPast(statistics.looks, replayed) }
  return store(orm, run.id, withPast, recordable(withPast, at.toISOString()), isFirst ? replayed : [])
}

/** Makes the looks of past days part of the last running look. */
function addPast(looks: readonly Look[], replayed: readonly Look[]): Look[] {
  const last = lastRunningLook(looks)
  const past = replayed.at(-1)
  const planned = looks.filter((look) => look.planned !== null)
  if (!past) return [...looks]
  return [...planned, last ? { ...last, figures: [...last.figures, ...past.figures] } : past]
}

/**
 * Stores records, unless another process has looked at the run meanwhile, or the run has ended or was reopened.
 * @param past the looks of past days
 * @returns the statistics with the records
 */
async function store(
  orm: MikroORM,
  runId: number,
  statistics: RunStatistics,
  reached: Recordable,
  past: readonly Look[] = [],
): Promise<RunStatistics> {
  const { running, planned, decisions } = reached
  if (!running && !planned && decisions.length === 0) return statistics
  const isStored = await orm.em.fork().transactional(async (em) => {
    const run = await em.findOne(Run, runId, { lockMode: LockMode.PESSIMISTIC_WRITE })
    if (!run || run.frozen_at || (run.ended_at !== null) !== statistics.hasEnded) return false
    if (await hasLookedSince(em, runId, statistics, past)) return false
    for (const look of past) em.create(RunLook, rowOf(runId, look))
    if (running) {
      await execute(
        em,
        sql`
          delete from run_looks l where l.run_id = ${runId} and l.planned is null
            and l.at >= date_trunc('hour', ${running.at}::timestamptz, 'UTC')`,
      )
      em.create(RunLook, rowOf(runId, running))
    }
    if (planned) em.create(RunLook, rowOf(runId, planned))
    for (const { variantId, outcome, at, users, reasons } of decisions)
      em.create(RunDecision, { run_id: runId, variant_id: variantId, outcome, at: new Date(at), users, reasons })
    await em.flush()
    return true
  })
  return isStored ? withRecords(statistics, reached) : statistics
}

const rowOf = (runId: number, { at, ...look }: Look) => ({ run_id: runId, at: new Date(at), ...look })

/** Tells whether the run has records that the statistics do not hold. @param past looks that are not stored yet */
async function hasLookedSince(
  em: EntityManager,
  runId: number,
  { looks, decisions }: RunStatistics,
  past: readonly Look[],
): Promise<boolean> {
  const planned = looks.filter((look) => look.planned !== null)
  const running = past.length > 0 ? null : lastRunningLook(looks)
  const [last] = await em.find(RunLook, { run_id: runId, planned: null }, { orderBy: { at: 'desc' }, limit: 1 })
  return (
    (last?.at.toISOString() ?? null) !== (running?.at ?? null) ||
    (await em.count(RunLook, { run_id: runId, planned: { $ne: null } })) !== planned.length ||
    (await em.count(RunDecision, { run_id: runId })) !== decisions.length
  )
}
