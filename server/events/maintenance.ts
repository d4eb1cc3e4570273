import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import type { Logger } from 'pino'
import { isDatabaseUnavailable, isPassing } from '../database/errors.ts'
import { retried } from '../database/retry.ts'
import { lockProfiles } from '../definitions/queries.ts'
import { beginGeneration, isGenerationOver } from './event-keys.ts'
import { createPartition, dropPartition, findDroppable, lockPartitions, monthsAhead } from './partitions.ts'

/** Keeps the storage of events in order: partitions ahead of time, generations of event ids, retention. */
export type Maintenance = {
  /** Does what is due now. Safe in every process at any time. */
  maintain: () => Promise<void>
  close: () => Promise<void>
}

const LOOK_MS = 60_000

/** @param retentionDays how long raw events are kept; undefined: for ever */
export function createMaintenance(options: {
  orm: MikroORM
  retentionDays: number | undefined
  log: Logger
}): Maintenance {
  const { orm, retentionDays, log } = options
  let working: Promise<void> | undefined

  async function maintain() {
    await orm.em.fork().transactional(async (em) => {
      const missing = await monthsAhead(em)
      if (missing.length === 0) return
      await lockPartitions(em)
      for (const month of missing) await createPartition(em, month)
    })
    if (await isGenerationOver(orm.em.fork())) await retried(() => orm.em.fork().transactional(nextGeneration))
    if (retentionDays !== undefined) await dropOld(retentionDays)
  }

  /** One partition a transaction: none is locked longer than it takes to drop it. */
  async function dropOld(days: number) {
    for (;;) {
      const dropped = await orm.em.fork().transactional(async (em) => {
        await lockPartitions(em)
        const [partition] = await findDroppable(em, days)
        if (partition) await dropPartition(em, partition)
        return partition
      })
      if (!dropped) return
      log.info({ partition: dropped.table }, 'Raw events beyond the retention were dropped')
    }
  }

  const quietly = () => {
    working ??= maintain()
      .catch((error) => {
        const level = isDatabaseUnavailable(error) || isPassing(error) ? 'warn' : 'error'
        log[level]({ err: error }, 'The storage of events cannot be kept in order; trying again')
      })
      .finally(() => {
        working = undefined
      })
  }
  const timer = setInterval(quietly, LOOK_MS)
  timer.unref()
  quietly()

  return {
    maintain: async () => {
      await working
      await maintain()
    },
    close: async () => {
      clearInterval(timer)
      await working
    },
  }
}

/** While nobody stores an event: whoever does looks for its event id in the same two generations as everybody else. */
async function nextGeneration(em: EntityManager) {
  await lockProfiles(em)
  if (await isGenerationOver(em)) await beginGeneration(em)
}
