import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { Logger } from 'pino'
import { type BackgroundJob, inBackground } from '../database/background.ts'
import { isDatabaseUnavailable, isTransient } from '../database/errors.ts'
import { lock } from '../database/locks.ts'
import { execute } from '../database/sql.ts'
import type { Define } from '../definitions/define.ts'
import { lockExperiment } from '../experiments/changes.ts'
import { Experiment, Run } from '../experiments/entity.ts'
import { pauseExperiment } from '../experiments/life-cycle.ts'
import { answerOf, asResults, type Gathering, type ResultsAnswer } from '../results/service.ts'
import { readMark } from '../totals/progress.ts'
import { Alert } from './entity.ts'
import { type Finding, findingsOf } from './findings.ts'
import { lookAt } from './looks.ts'

const PAUSE_MS = 10_000

/**
 * Looks at the results of running and paused experiments, every 10 seconds if they may have changed. Records the looks
 * and the decisions that they reach, and stores each finding the first time that it occurs. Runs that have ended are
 * looked at for their last decision.
 */
export function createAlertMonitor(options: {
  orm: MikroORM
  gathering: Gathering
  define: Define
  log: Logger
}): BackgroundJob {
  const { orm, gathering, define, log } = options
  let mark: string | null = null

  /** Stores new findings, and pauses the experiment if `pause_on` names their kind, in one transaction. */
  async function raise(experimentId: number, results: ResultsAnswer, findings: readonly Finding[]) {
    const run = await orm.em.fork().findOne(Run, { experiment_id: experimentId, number: results.run ?? 0 })
    if (!run) return
    const known = await orm.em.fork().find(Alert, { run_id: run.id })
    const fresh = findings.filter(
      ({ kind, subject }) => !known.some((alert) => alert.kind === kind && alert.subject === subject),
    )
    if (fresh.length === 0) return
    await define('alerts', async (em) => {
      const experiment = await lockExperiment(em, experimentId)
      // The lock makes ids commit in ascending order, so that a reader who continues after an id misses no alert.
      await lock(em, 'alerts')
      const pauses = (kind: Finding['kind']) =>
        experiment.status === 'running' &&
        experiment.kind === 'experiment' &&
        experiment.pause_on.some((reason) => reason === kind)
      let stored = 0
      for (const finding of fresh) stored += await store(em, experimentId, run.id, finding, pauses(finding.kind))
      if (stored > 0 && fresh.some(({ kind }) => pauses(kind))) await pauseExperiment(em, experimentId)
    })
    for (const { message } of fresh) log.warn({ experiment_id: experimentId }, message)
  }

  const complaint = 'The alert monitor could not read or store results; it tries again in 10 seconds'
  return inBackground({ pauseMs: PAUSE_MS, log, complaint }, async (signal) => {
    const now = await readMark(orm.em.fork())
    if (now === mark) return
    const running = await orm.em
      .fork()
      .find(Experiment, { status: { $in: ['running', 'paused'] } }, { orderBy: { id: 'asc' } })
    const faults = await each(running, signal, async ({ id }) => {
      const statistics = await lookAt(orm, gathering, id, undefined, true)
      if (!statistics) return
      const results = asResults(answerOf(statistics))
      const findings = findingsOf(results)
      if (findings.length > 0) await raise(id, results, findings)
    })
    const ended = await findEnded(orm.em.fork())
    faults.push(
      ...(await each(ended, signal, async ({ experiment_id, number }) => {
        await lookAt(orm, gathering, experiment_id, number, true)
      })),
    )
    if (faults.length > 0) throw faults[0]
    if (!signal.aborted) mark = now
  })
}

/**
 * Does a step for each item. A fault of one item must not keep the others from being watched; a fault of the database
 * is one of all items, and ends the loop.
 * @returns the faults of items
 */
async function each<Item>(items: readonly Item[], signal: AbortSignal, step: (item: Item) => Promise<void>) {
  const faults: unknown[] = []
  for (const item of items) {
    if (signal.aborted) break
    try {
      await step(item)
    } catch (error) {
      if (isTransient(error) || isDatabaseUnavailable(error)) throw error
      faults.push(error)
    }
  }
  return faults
}

/** Finds runs that have ended, whose results late events may still change. */
const findEnded = (em: EntityManager) =>
  em.find(Run, { ended_at: { $ne: null }, frozen_at: null }, { orderBy: { id: 'asc' } })

/** @returns 1 when the alert was stored; 0 when another process has stored it already */
async function store(
  em: EntityManager,
  experimentId: number,
  runId: number,
  { kind, subject, message }: Finding,
  paused: boolean,
) {
  const rows = await execute(
    em,
    sql`
      insert into alerts (experiment_id, run_id, kind, subject, message, paused)
      values (${experimentId}, ${runId}, ${kind}, ${subject}, ${message}, ${paused})
      on conflict (run_id, kind, subject) do nothing returning id`,
  )
  return rows.length
}
