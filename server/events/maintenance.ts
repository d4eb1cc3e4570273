import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import type { Logger } from 'pino'
import { type BackgroundJob, inBackground } from '../database/background.ts'
import { lock } from '../database/locks.ts'
import { retried } from '../database/retry.ts'
import { beginGeneration, isGenerationOver } from './event-keys.ts'
import { createPartition, dropPartition, findDroppable, monthsAhead } from './partitions.ts'

const PAUSE_MS = 60_000

/**
 * Maintains the storage of events in the background: creates partitions ahead of time, begins generations of event
 * keys, and drops raw events beyond the retention. Several processes may do so at the same time.
 * @param retentionDays the days for which raw events are kept; undefined means for ever
 */
export function createMaintenance(options: {
  orm: MikroORM
  retentionDays: number | undefined
  log: Logger
}): BackgroundJob {
  const { orm, retentionDays, log } = options

  async function maintain() {
    await orm.em.fork().transactional(async (em) => {
      const missing = await monthsAhead(em)
      if (missing.length === 0) return
      await lock(em, 'partitions')
      for (const month of missing) await createPartition(em, month)
    })
    if (await isGenerationOver(orm.em.fork())) await retried(() => orm.em.fork().transactional(nextGeneration))
    if (retentionDays !== undefined) await dropOld(retentionDays)
  }

  /** Drops one partition per transaction, so that no partition is locked longer than its own drop takes. */
  async function dropOld(days: number) {
    for (;;) {
      const dropped = await orm.em.fork().transactional(async (em) => {
        await lock(em, 'partitions')
        const [partition] = await findDroppable(em, days)
        if (partition) await dropPartition(em, partition)
        return partition
      })
      if (!dropped) return
      log.info({ partition: dropped.table }, 'Dropped a partition of raw events older than EVENT_RETENTION_DAYS')
    }
  }

  const complaint = 'The maintenance of event storage failed; it runs again in a minute'
  return inBackground({ pauseMs: PAUSE_MS, atOnce: true, log, complaint }, maintain)
}

/**
 * Stops all writers of events while a generation begins, so that they all look up a key in the same two generations.
 */
async function nextGeneration(em: EntityManager) {
  await lock(em, 'profiles')
  if (await isGenerationOver(em)) await beginGeneration(em)
}
