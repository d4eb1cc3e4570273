import type { MikroORM } from '@mikro-orm/sql'
import { createGroupCommit } from '../database/group-commit.ts'
import {
  claimKeys,
  createPartition,
  decideByEvents,
  exposeByEvents,
  insertEvents,
  lockPartitions,
  type NewEvent,
  readByDigest,
  type StoredEvent,
} from './queries.ts'
import { EXPOSURE_EVENT } from './schema.ts'

/** Stores events; those that arrive together share one transaction, and nobody is answered before it committed. */
export type Recorder = {
  record: (event: NewEvent) => Promise<StoredEvent & { duplicate: boolean }>
  drained: () => Promise<void>
}

const monthOf = (milliseconds: number) => new Date(milliseconds).toISOString().slice(0, 7)
const DAY_MS = 24 * 3600 * 1000

export function createRecorder(options: { orm: MikroORM; concurrency: number }): Recorder {
  const { orm } = options
  /** Months whose partition is known to exist. */
  const months = new Set<string>()

  /** This month and the next are always there: the database's clock may be ahead of this process's. */
  async function ensurePartitions(events: readonly NewEvent[]) {
    const now = Date.now()
    const wanted = new Set([monthOf(now - DAY_MS), monthOf(now), monthOf(now + 31 * DAY_MS)])
    for (const event of events) if (event.timestamp !== null) wanted.add(monthOf(event.timestamp))
    const missing = [...wanted].filter((month) => !months.has(month)).sort()
    if (missing.length === 0) return
    await orm.em.fork().transactional(async (em) => {
      await lockPartitions(em)
      for (const month of missing) await createPartition(em, month)
    })
    for (const month of missing) months.add(month)
  }

  const group = createGroupCommit<NewEvent, StoredEvent & { duplicate: boolean }>({
    waitMs: 1,
    maxItems: 1000,
    maxWaiting: 20_000,
    concurrency: options.concurrency,
    write: async (events) => {
      await ensurePartitions(events)
      return orm.em.fork().transactional(async (em) => {
        const firsts = new Map<string, NewEvent>()
        for (const event of events)
          if (event.digest !== null && !firsts.has(event.digest)) firsts.set(event.digest, event)
        const claimed = firsts.size > 0 ? await claimKeys(em, [...firsts.values()]) : []
        const ids = new Map(claimed.map((key) => [key.digest, key.id]))
        const isNew = (event: NewEvent) =>
          event.digest === null || (ids.has(event.digest) && firsts.get(event.digest) === event)
        const fresh = events.filter(isNew)

        if (fresh.some((event) => event.variant_id !== null)) await decideByEvents(em, fresh)
        if (
          fresh.some(
            (event) => event.variant_id !== null || (event.type === EXPOSURE_EVENT && event.experiment_id !== null),
          )
        )
          await exposeByEvents(em, fresh, EXPOSURE_EVENT)

        const stored = new Map<NewEvent, StoredEvent>()
        if (fresh.length > 0) {
          const withIds = fresh.map((event) => ({
            ...event,
            id: event.digest === null ? null : (ids.get(event.digest) ?? null),
          }))
          for (const { ord, ...row } of await insertEvents(em, withIds)) {
            const event = fresh[ord] as NewEvent
            const { user_id, experiment_id, type, properties } = event
            stored.set(event, { user_id, experiment_id, type, properties, ...row })
          }
        }
        const repeated = [...new Set(events.flatMap((event) => (isNew(event) ? [] : (event.digest ?? []))))]
        const originals = new Map(
          (repeated.length > 0 ? await readByDigest(em, repeated) : []).map(({ digest, ...row }) => [digest, row]),
        )
        return events.map((event) => {
          const row = stored.get(event)
          if (row) return { ...row, duplicate: false }
          return { ...(originals.get(event.digest as string) as StoredEvent), duplicate: true }
        })
      })
    },
  })
  return { record: group.add, drained: group.drained }
}
