import { setTimeout as sleep } from 'node:timers/promises'
import type { MikroORM } from '@mikro-orm/sql'
import type { Logger } from 'pino'
import { inBackground } from '../database/background.ts'
import { type Filled, fillOnce, foldOnce, type Limits, type Pass } from './fold.ts'
import { type FoldState, isBehind, readFoldState, readNextXid } from './progress.ts'

/**
 * Keeps running totals up to date in the background, one process at a time. `settle` and `fill` have loops of their own: a
 * caller waits for one result until its deadline, without the pauses of the background job.
 */
export type Totals = {
  /**
   * Brings everything into the totals that was stored before the call. @returns false where that took longer than
   * allowed
   */
  settle: (withinMs: number) => Promise<boolean>
  /** Resolves when everything that was stored before the call is in the totals, and every metric is filled in. */
  catchUp: () => Promise<void>
  /** Fills in what a run is newly measured by. @returns false where that took longer than allowed; it goes on */
  fill: (runId: number, withinMs: number) => Promise<boolean>
  state: () => Promise<FoldState>
  close: () => Promise<void>
}

/** How long a pass may hold up whoever waits for the embedded database's one connection, and how long on PostgreSQL. */
const TARGET_MS = { embedded: 30, postgres: 400 }
const LEAST: Limits = { events: 50, users: 20 }
const MOST: Limits = { events: 20_000, users: 2000 }
const PAUSE_MS = { least: 50, most: 500 }
const BUSY_MS = 10
/** Longer tails are not counted to their end. */
const MAX_UNFOLDED = 100_000

export function createTotals(options: { orm: MikroORM; embedded: boolean; timeZone: string; log: Logger }): Totals {
  const { orm, timeZone, log } = options
  const targetMs = options.embedded ? TARGET_MS.embedded : TARGET_MS.postgres
  /** Each pass is as large as the one before says that the time allows. */
  let limits: Limits = { events: 500, users: 100 }

  function adapt(tookMs: number, did: Limits) {
    const next = (of: keyof Limits) => {
      const factor = tookMs > targetMs ? 0.5 : tookMs < targetMs / 2 && did[of] >= limits[of] ? 1.5 : 1
      return Math.round(Math.min(MOST[of], Math.max(LEAST[of], limits[of] * factor)))
    }
    limits = { events: next('events'), users: next('users') }
  }

  async function fold(): Promise<Pass> {
    const began = performance.now()
    const pass = await foldOnce(orm, limits, timeZone)
    if (pass !== 'busy') adapt(performance.now() - began, pass)
    return pass
  }

  async function fillNext(runId: number | null): Promise<Filled> {
    const began = performance.now()
    const filled = await fillOnce(orm, limits, runId)
    if (typeof filled === 'object') adapt(performance.now() - began, { events: 0, users: filled.users })
    return filled
  }

  /** @returns whether there is more to do at once */
  async function step(): Promise<boolean> {
    if (!(await isBehind(orm.em.fork(), null))) {
      return typeof (await fillNext(null)) === 'object'
    }
    const pass = await fold()
    return pass !== 'busy' && (pass.more || pass.events > 0)
  }

  let pauseMs = PAUSE_MS.least
  /** Grows while there is nothing to do. Between two passes whoever waits for the connection has a turn, at 0 too. */
  function nextPause(more: boolean | undefined): number {
    if (more === undefined) pauseMs = PAUSE_MS.most
    else pauseMs = more ? 0 : Math.min(PAUSE_MS.most, Math.max(PAUSE_MS.least, pauseMs * 1.5))
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
      else if (options.embedded) await sleep(0)
    }
  }

  async function settle(until: number): Promise<boolean> {
    const before = await readNextXid(orm.em.fork())
    while (await isBehind(orm.em.fork(), before)) {
      if (performance.now() >= until) return false
      // What is left when a pass finds nothing waits for a transaction that began earlier.
      if (!(await step())) await sleep(BUSY_MS)
    }
    return true
  }

  return {
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
