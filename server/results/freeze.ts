import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { Logger } from 'pino'
import { type BackgroundJob, inBackground } from '../database/background.ts'
import { lock } from '../database/locks.ts'
import { execute } from '../database/sql.ts'
import { readClock } from '../definitions/queries.ts'
import { conflict, DomainError, notFound } from '../errors.ts'
import { Experiment, Run } from '../experiments/entity.ts'
import { readAttached } from '../metrics/attached.ts'
import { windowMs } from '../metrics/measure.ts'
import { finishRun } from '../totals/fold.ts'
import { findAfterEnd } from '../totals/progress.ts'
import { findFrozen, storeFrozen } from './frozen.ts'
import { gather } from './gather.ts'
import type { FreezeResults, GetResults } from './question-schema.ts'
import { register } from './register.ts'
import { findRun, plainQuestion, resolve } from './resolve.ts'
import { readHistory, withRunWarnings } from './run-warnings.ts'
import type { FrozenExport, Results } from './schema.ts'
import { answerOf, getResults, type Reporting } from './service.ts'
import { readUnfolded } from './unfolded.ts'

/** Freezes runs: stores the sufficient statistics and the answer of a settled run, which never change again. */

/** How long after the end of the longest window late events still count. */
const SETTLING_MS = 72 * 3_600_000
const PAUSE_MS = 60_000

/**
 * Freezes a run that has ended. Everything recorded by now is counted; later events are not.
 * @throws DomainError NOT_FOUND for an unknown run; CONFLICT if the run goes on or is frozen already, a metric is still
 *   being computed, or too many events are not counted yet; SERVICE_UNAVAILABLE while an event type is counted for the
 *   first time
 */
async function freezeRun(orm: MikroORM, reporting: Reporting, runId: number): Promise<void> {
  const known = await orm.em.fork().findOne(Run, runId)
  if (!known) throw notFound('Run', runId)
  const question = plainQuestion(known.experiment_id, known.number)
  // The last look of an analysis is recorded before the statistics are stored for good.
  if (known.ended_at && !known.frozen_at) await reporting.look(known.experiment_id, known.number)
  // Registers the event type before taking the lock: counting past events needs the same lock.
  const em = orm.em.fork()
  await register(em, reporting.totals, await resolve(em, reporting.timeZone, await findRun(em, question), question))
  await reporting.totals.catchUp()
  await orm.em.fork().transactional(async (em) => {
    // Keeps totals as they are until the statistics are stored.
    await lock(em, 'fold')
    const run = await em.findOneOrFail(Run, runId, { refresh: true })
    const experiment = await em.findOneOrFail(Experiment, run.experiment_id, { refresh: true })
    if (!run.ended_at) throw conflict(`Run ${run.number} of experiment ${experiment.id} goes on: complete it first`)
    if (run.frozen_at) throw conflict(`Run ${run.number} of experiment ${experiment.id} is frozen already`)
    const query = await register(em, null, await resolve(em, reporting.timeZone, { experiment, run }, question))
    if (query.specs.some(({ metric }) => metric.status === 'computing'))
      throw conflict(`Experiment ${experiment.id} has a metric that is still being computed; try again soon`)
    const { userIds, ended } = await readUnfolded(em, run)
    if (userIds === null)
      throw conflict(`Run ${run.number} has too many events that are not counted yet; try again soon`)
    const uncounted = [...userIds, ...(ended ? await findAfterEnd(em, run.id, null) : [])]
    if (uncounted.length > 0) await finishRun(em, run.id, uncounted)
    run.frozen_at = await readClock(em)
    await em.flush()
    const statistics = await gather(em, { ...query, run }, { userIds: [], dataThrough: run.frozen_at })
    const history = await readHistory(em, experiment, run)
    const sent = withRunWarnings(answerOf(statistics), history)
    await storeFrozen(em, run.id, question, statistics, sent)
  })
}

/** Freezes the latest run, or the run that the input names. @returns the run's frozen answer to the plain question */
export async function freezeResults(orm: MikroORM, reporting: Reporting, input: FreezeResults): Promise<Results> {
  const { experiment, run } = await findRun(orm.em.fork(), input)
  if (!run) throw conflict(`Experiment ${experiment.id} has no run to freeze: start the experiment first`)
  await freezeRun(orm, reporting, run.id)
  return getResults(orm.em.fork(), reporting, plainQuestion(experiment.id, run.number))
}

/**
 * Exports a frozen run's answer to a question with the statistics behind it, for `npm run verify:result`, and counts
 * the events that came too late.
 * @throws DomainError CONFLICT if the run is not frozen; NOT_FOUND if no answer to the question is stored
 */
export async function exportFrozen(em: EntityManager, input: GetResults): Promise<FrozenExport> {
  const { experiment, run } = await findRun(em, input)
  if (!run?.frozen_at)
    throw conflict(
      `Experiment ${experiment.id} has no frozen results${run ? ` of run ${run.number}: complete and freeze the run first` : ': it has no run yet'}`,
    )
  const frozen = await findFrozen(em, run.id, input)
  if (!frozen)
    throw new DomainError(
      'NOT_FOUND',
      'No answer to this question is stored: ask for the results with these options first',
    )
  return { ...frozen, late_events: await countLate(em, run) } as unknown as FrozenExport
}

/** Counts events that name the experiment, happened during the run, and were received after the run was frozen. */
async function countLate(em: EntityManager, { experiment_id, started_at, ended_at, frozen_at }: Run): Promise<number> {
  const rows = await execute(
    em,
    sql<{ late: number }>`
      select count(*)::int as late from events e
      where e.experiment_id = ${experiment_id} and e.timestamp >= ${started_at.toISOString()}::timestamptz
        and e.timestamp < ${(ended_at as Date).toISOString()}::timestamptz
          and e.received_at > ${(frozen_at as Date).toISOString()}::timestamptz`,
  )
  return rows[0]?.late ?? 0
}

/** Finds runs that ended so long ago that no late event counts any more. @returns ids in ascending order */
async function findSettled(em: EntityManager): Promise<number[]> {
  const now = await readClock(em)
  const endedBefore = new Date(now.getTime() - SETTLING_MS)
  const runs = await em.find(Run, { ended_at: { $lte: endedBefore }, frozen_at: null }, { orderBy: { id: 'asc' } })
  const settled: number[] = []
  for (const run of runs) {
    const windows = (await readAttached(em, run.experiment_id)).map(({ definition }) => windowMs(definition) ?? 0)
    if ((run.ended_at as Date).getTime() + Math.max(0, ...windows) <= endedBefore.getTime()) settled.push(run.id)
  }
  return settled
}

/** Freezes settled runs in the background. */
export function createFreezer(options: { orm: MikroORM; reporting: Reporting; log: Logger }): BackgroundJob {
  const { orm, reporting, log } = options
  const complaint = 'Results cannot be frozen; trying again'
  return inBackground({ pauseMs: PAUSE_MS, log, complaint }, async (signal) => {
    for (const runId of await findSettled(orm.em.fork())) {
      if (signal.aborted) return
      // Another process may have frozen the run first. A run that cannot be frozen yet is tried again later.
      await freezeRun(orm, reporting, runId).catch((error) =>
        log.debug({ err: error, runId }, 'A run cannot be frozen yet'),
      )
    }
  })
}
