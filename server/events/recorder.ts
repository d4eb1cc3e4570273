import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import { isDatabaseAway } from '../database/errors.ts'
import { createGroupCommit } from '../database/group-commit.ts'
import { fencePeople } from '../definitions/people-fence.ts'
import { lockVersions } from '../definitions/queries.ts'
import { DomainError } from '../errors.ts'
import { EXPOSURE_EVENT } from '../wire.ts'
import { claimKeys, readByDigest, reclaimKeys } from './event-keys.ts'
import { createPartition, lockPartitions } from './partitions.ts'
import {
  decideByEvents,
  exposeByEvents,
  insertEvents,
  moveStartsBack,
  type NewEvent,
  type StoredEvent,
} from './queries.ts'

/** 'erased': the user was erased, or joined to another, since they were looked at: look again. */
export type Recorded = (StoredEvent & { duplicate: boolean }) | 'erased'

/** Stores events; those that arrive together share one transaction, and nobody is answered before it committed. */
export type Recorder = {
  /**
   * Stores the events of one sender together, unless one of them cannot be stored: that one hurts no other.
   * @returns by place what became of each: an error where it could not be stored
   * @throws DomainError SERVICE_UNAVAILABLE, or the database's error, where nothing could be stored now
   */
  record: (events: readonly NewEvent[]) => Promise<(Recorded | Error)[]>
  drained: () => Promise<void>
}

const monthOf = (milliseconds: number) => new Date(milliseconds).toISOString().slice(0, 7)
const DAY_MS = 24 * 3600 * 1000
/** What waits for the database at most, as text. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024
/** What an event keeps in memory beside its properties. */
const EVENT_BYTES = 500

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

  const group = createGroupCommit<readonly NewEvent[], Recorded[]>({
    waitMs: 1,
    weigh: (events) => events.length,
    sizeOf: (events) => events.reduce((bytes, event) => bytes + EVENT_BYTES + event.size, 0),
    maxWeight: 1000,
    maxWaiting: 20_000,
    maxBytes: MAX_WAITING_BYTES,
    concurrency: options.concurrency,
    write: async (batches) => {
      const events = batches.flat()
      await ensurePartitions(events)
      const recorded = await orm.em.fork().transactional((em) => storeEvents(em, events))
      let start = 0
      return batches.map((batch) => {
        start += batch.length
        return recorded.slice(start - batch.length, start)
      })
    },
  })

  async function record(events: readonly NewEvent[]): Promise<(Recorded | Error)[]> {
    if (events.length === 0) return []
    try {
      return await group.add(events)
    } catch (error) {
      if (isDatabaseAway(error) || error instanceof DomainError) throw error
      if (events.length === 1) return [error as Error]
      const middle = events.length >> 1
      return [...(await record(events.slice(0, middle))), ...(await record(events.slice(middle)))]
    }
  }
  return { record, drained: group.drained }
}

async function storeEvents(em: EntityManager, events: readonly NewEvent[]): Promise<Recorded[]> {
  const isErased = await fencePeople(em, events)
  const accepted = events.filter((event) => !isErased(event))
  const { firsts, ids, originals } = await settleKeys(em, accepted)
  const fresh = accepted.filter((event) => event.digest === null || ids.has(event))
  await settleAssignments(em, fresh)

  const stored = new Map<NewEvent, StoredEvent>()
  if (fresh.length > 0)
    for (const { ord, ...row } of await insertEvents(
      em,
      fresh.map((event) => ({ ...event, id: ids.get(event) ?? null })),
    )) {
      const event = fresh[ord] as NewEvent
      const { user_id, experiment_id, type, properties } = event
      stored.set(event, { user_id, experiment_id, type, properties, ...row })
    }
  return events.map((event) => {
    if (isErased(event)) return 'erased'
    const row = stored.get(event)
    if (row) return { ...row, duplicate: false }
    const digest = event.digest as string
    const original = stored.get(firsts.get(digest) as NewEvent) ?? originals.get(digest)
    if (!original) throw new Error('An event id stands for no event')
    return { ...original, duplicate: true }
  })
}

/**
 * Which events have an event id that nobody used before, with the id that each of them will have, and what the other
 * event ids stand for. Of several events with one event id the first counts (`firsts`, by digest).
 */
async function settleKeys(em: EntityManager, events: readonly NewEvent[]) {
  const firsts = new Map<string, NewEvent>()
  for (const event of events) if (event.digest !== null && !firsts.has(event.digest)) firsts.set(event.digest, event)
  const ids = new Map<NewEvent, number>()
  const originals = new Map<string, StoredEvent>()
  if (firsts.size === 0) return { firsts, ids, originals }
  const claim = (keys: { digest: string; id: number }[]) => {
    for (const key of keys) ids.set(firsts.get(key.digest) as NewEvent, key.id)
  }
  const repeated = () => [...firsts].flatMap(([digest, event]) => (ids.has(event) ? [] : [digest]))
  const readOriginals = async () => {
    const digests = repeated()
    if (digests.length > 0) for (const { digest, ...row } of await readByDigest(em, digests)) originals.set(digest, row)
  }
  claim(await claimKeys(em, [...firsts.values()]))
  await readOriginals()
  const foreign = [...originals].filter(([digest, row]) => row.user_id !== firsts.get(digest)?.user_id)
  if (foreign.length > 0) {
    const again = foreign.map(([digest]) => firsts.get(digest) as NewEvent)
    claim(await reclaimKeys(em, again, new Map(foreign.map(([digest, row]) => [digest, row.id]))))
    await readOriginals()
  }
  return { firsts, ids, originals }
}

/** What events say of assignments, fenced as decisions are: no variant vanishes under them. */
async function settleAssignments(em: EntityManager, events: readonly NewEvent[]) {
  const naming = events.filter((event) => event.variant_id !== null)
  if (naming.length > 0) {
    const early = naming.filter((event) => event.early)
    const experimentIds = [...new Set(naming.flatMap((event) => event.experiment_id ?? []))]
    await lockVersions(em, experimentIds, early.length > 0 ? 'no key update' : 'share')
    if (early.length > 0) await moveStartsBack(em, early)
    await decideByEvents(em, naming)
  }
  const exposing = events.filter(
    (event) => event.variant_id !== null || (event.type === EXPOSURE_EVENT && event.experiment_id !== null),
  )
  if (exposing.length > 0) await exposeByEvents(em, exposing)
}
