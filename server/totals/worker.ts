import { setTimeout as sleep } from 'node:timers/promises'
import type { MikroORM } from '@mikro-orm/sql'
import type { Logger } from 'pino'
import { inBackground } from '../database/background.ts'
import { type Filled, fillOnce, foldOnce, type Limits, type Part, type Pass } from './fold.ts'
import { type FoldState, isBehind, readFoldState, readNextXid } from './progress.ts'

/**
 * Keeps running totals up to date in the background, in one process at a time. `settle` and `fill` have loops of their
 * own: their callers wait until a deadline, without the pauses of the background job.
 */
export type Totals = {
  /** Folds everything that was stored before the call. @returns false where the time was too short */
  settle: (withinMs: number) => Promise<boolean>
  /**
   * Runs a read. On the embedded database a pass comes right before it if any row is unfolded: the pass costs less than
   * the recount of unfolded events in an answer, and reads that wait at the same time share it.
   */
  afterPass: <Result>(read: () => Promise<Result>) => Promise<Result>
  /** Folds everything that was stored before the call, and fills in every measure. Waits without a deadline. */
  catchUp: () => Promise<void>
  /** Fills in the new measures of a run. @returns false where the time was too short; the background job goes on */
  fill: (runId: number, withinMs: number) => Promise<boolean>
  state: () => Promise<FoldState>
  close: () => Promise<void>
}

/** How long a pass should take: it blocks all requests on the embedded database's one connection, not on PostgreSQL. */
const TARGET_MS = { embedded: 50, postgres: 400 }
/** The statements of a pass take some 15 ms on the embedded database even where they find little. */
const LEAST: Limits = { events: 100, users: 50 }
const MOST: Limits = { events: 20_000, users: 2000 }
/** The embedded database's one connection is left to requests until there is enough to fold. */
const LEAST_PAUSE_MS = { embedded: 200, postgres: 50 }
const MOST_PAUSE_MS = 500
const BUSY_MS = 10
/** The most unfolded events that `state` counts: counting 10,000 takes the embedded database some 5 ms. */
const MAX_UNFOLDED = 10_000

/** Starts the background job. */
export function createTotals(options: { orm: MikroORM; embedded: boolean; timeZone: string; log: Logger }): Totals {
  const { orm, timeZone, log, embedded } = options
  const kind = embedded ? 'embedded' : 'postgres'
  const targetMs = TARGET_MS[kind]
  /** The limits of the next pass, adapted to the time that the last pass took. */
  let limits: Limits = { events: 500, users: 100 }

  /**
   * Adapts each limit to the time of its own part: a slow addition of events must not shrink the number of users. A
   * part may take the time that the other part leaves, and at least half of the target.
   */
  function adapt({ events, users }: { [Of in keyof Limits]: Part }) {
    const next = (of: keyof Limits, { ms, isFull }: Part, other: Part) => {
      const allowedMs = Math.max(targetMs / 2, targetMs - other.ms)
      const factor = ms > allowedMs ? 0.5 : isFull && ms < allowedMs / 2 ? 1.5 : 1
      return Math.round(Math.min(MOST[of], Math.max(LEAST[of], limits[of] * factor)))
    }
    limits = { events: next('events', events, users), users: next('users', users, events) }
  }

  async function fold(): Promise<Pass> {
    const pass = await foldOnce(orm, limits, timeZone)
    if (pass !== 'busy') adapt(pass.parts)
    return pass
  }

  async function fillNext(runId: number | null): Promise<Filled> {
    const began = performance.now()
    const filled = await fillOnce(orm, limits, runId)
    if (typeof filled === 'object')
      adapt({
        events: { ms: 0, isFull: false },
        users: { ms: performance.now() - began, isFull: filled.users >= limits.users },
      })
    return filled
  }

  /** Runs one pass, or fills in measures if there is nothing to fold. @returns true where there is more to do now */
  async function step(): Promise<boolean> {
    if (!(await isBehind(orm.em.fork(), null))) {
      return typeof (await fillNext(null)) === 'object'
    }
    const pass = await fold()
    return pass !== 'busy' && (pass.more || (pass.events > 0 && !embedded))
  }

  const leastPauseMs = LEAST_PAUSE_MS[kind]
  let pauseMs = leastPauseMs
  /**
   * Grows while there is nothing to do. A pause of 0 lets waiting requests use the connection between two passes, too.
   */
  function nextPause(more: boolean | undefined): number {
    if (more === undefined) pauseMs = MOST_PAUSE_MS
    else pauseMs = more ? 0 : Math.min(MOST_PAUSE_MS, Math.max(leastPauseMs, pauseMs * 1.5))
    return pauseMs
  }
  const complaint = 'Totals cannot be brought up to date; trying again'
  const job = inBackground({ pauseMs: nextPause, atOnce: true, log, complaint }, step)

  async function fill(runId: number | null, until: number): Promise<boolean> {
    for (;;) {
      const filled = await fillNext(runId)
      if (filled === 'done') return true
      if (performance.now() >= until) return false
      if (filled === 'busy') await sleep(BUSY_MS)
    }
  }

  async function settle(until: number): Promise<boolean> {
    const before = await readNextXid(orm.em.fork())
    while (await isBehind(orm.em.fork(), before)) {
      if (performance.now() >= until) return false
      // If a pass finds nothing, the remaining rows wait for an older transaction to end.
      if (!(await step())) await sleep(BUSY_MS)
    }
    return true
  }

  /** The pass that reads wait behind, until it has ended. */
  let passing: Promise<void> | undefined
  async function afterPass<Result>(read: () => Promise<Result>): Promise<Result> {
    if (!embedded || (!passing && !(await isBehind(orm.em.fork(), null)))) return read()
    // The pass and the read wait for the connection in this order. The answer is exact even where the pass fails.
    passing ??= fold()
      .catch(() => 'busy')
      .then(() => {
        passing = undefined
      })
    return read()
  }

  return {
    afterPass,
    settle: (withinMs) => settle(performance.now() + withinMs),
    catchUp: async () => {
      await settle(Number.POSITIVE_INFINITY)
      await fill(null, Number.POSITIVE_INFINITY)
    },
    fill: (runId, withinMs) => fill(runId, performance.now() + withinMs),
    state: () => readFoldState(orm.em.fork(), MAX_UNFOLDED),
    close: job.close,
  }
}
