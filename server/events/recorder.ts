import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import { databaseCode, isDatabaseUnavailable } from '../database/errors.ts'
import { createGroupCommit } from '../database/group-commit.ts'
import { lock } from '../database/locks.ts'
import { fenceProfiles } from '../definitions/profile-fence.ts'
import { lockVersions } from '../definitions/queries.ts'
import { DomainError } from '../errors.ts'
import { EXPOSURE_EVENT } from '../wire.ts'
import { claimKeys, readByDigest, releaseKeys } from './event-keys.ts'
import { type InsertedEvent, insertEvents, insertPlainly } from './insert.ts'
import { createPartition } from './partitions.ts'
import { decideByEvents, exposeByEvents, moveStartsBack, type NewEvent, type StoredEvent } from './queries.ts'

/** `outside_run`: the event names an experiment that had no run at the event's time, and counts nowhere in it. */
type Stored = StoredEvent & { duplicate: boolean; outside_run: boolean }
/** 'erased': the user was erased or joined to another after the event was prepared; prepare it again. */
export type Recorded = Stored | 'erased'

/**
 * Stores events. Events that arrive together share one transaction, and callers are answered after it has committed.
 */
export type Recorder = {
  /**
   * Stores the events of one sender together. When one of them cannot be stored, the others are stored without it.
   * @returns one outcome for each event, in the same order; an error for an event that could not be stored
   * @throws DomainError SERVICE_UNAVAILABLE when too many events wait, or the database's error when it is unavailable
   */
  record: (events: readonly NewEvent[]) => Promise<(Recorded | Error)[]>
  drained: () => Promise<void>
}

const monthOf = (milliseconds: number) => new Date(milliseconds).toISOString().slice(0, 7)
const DAY_MS = 24 * 3600 * 1000
/** PostgreSQL's error code for a row that fits no partition (check_violation). */
const NO_PARTITION = '23514'
/** The most bytes of events that may wait for the database. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024
/** The bytes that an event needs in memory beside its properties and attributes. */
const EVENT_BYTES = 500

export function createRecorder(options: { orm: MikroORM; concurrency: number }): Recorder {
  const { orm } = options
  /** The months whose partition exists, as far as this process knows. */
  const months = new Set<string>()

  /**
   * Creates the partitions of the events' months, of this month and of the next: an event without a time gets the time
   * of the database's clock, which may be ahead of this process's clock.
   */
  async function ensurePartitions(events: readonly NewEvent[]) {
    const now = Date.now()
    const wanted = new Set([monthOf(now - DAY_MS), monthOf(now), monthOf(now + 31 * DAY_MS)])
    for (const event of events) if (event.timestamp !== null) wanted.add(monthOf(event.timestamp))
    const missing = [...wanted].filter((month) => !months.has(month)).sort()
    if (missing.length === 0) return
    await orm.em.fork().transactional(async (em) => {
      await lock(em, 'partitions')
      for (const month of missing) await createPartition(em, month)
    })
    for (const month of missing) months.add(month)
  }

  async function store(events: readonly NewEvent[]): Promise<Recorded[]> {
    await ensurePartitions(events)
    const transaction = () => orm.em.fork().transactional((em) => storeEvents(em, events))
    try {
      return await transaction()
    } catch (error) {
      // Maintenance may have dropped a partition that was older than the retention.
      if (databaseCode(error) !== NO_PARTITION) throw error
      months.clear()
      await ensurePartitions(events)
      return transaction()
    }
  }

  const group = createGroupCommit<readonly NewEvent[], Recorded[]>({
    weigh: (events) => events.length,
    sizeOf: (events) => events.reduce((bytes, event) => bytes + EVENT_BYTES + event.size, 0),
    maxWeight: 1000,
    maxWaiting: 20_000,
    maxBytes: MAX_WAITING_BYTES,
    concurrency: options.concurrency,
    write: async (batches) => {
      const events = batches.flat()
      const recorded = await store(events)
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
      if (isDatabaseUnavailable(error) || error instanceof DomainError) throw error
      if (events.length === 1) return [error as Error]
      const middle = events.length >> 1
      return [...(await record(events.slice(0, middle))), ...(await record(events.slice(middle)))]
    }
  }
  return { record, drained: group.drained }
}

/** Stores events in the caller's transaction. When several have the same event id, the first is stored. */
async function storeEvents(em: EntityManager, events: readonly NewEvent[]): Promise<Recorded[]> {
  const isErased = await fenceProfiles(em, events)
  const firsts = new Map<string, NewEvent>()
  const plain: NewEvent[] = []
  const others: NewEvent[] = []
  for (const event of events) {
    if (isErased(event)) continue
    if (event.digest !== null) {
      if (firsts.has(event.digest)) continue
      firsts.set(event.digest, event)
    }
    ;(event.settled ? plain : others).push(event)
  }
  const stored = new Map<NewEvent, Stored>()
  const note = (inserted: readonly InsertedEvent[], of: readonly NewEvent[]) => {
    for (const row of inserted) {
      const event = of[row.ord] as NewEvent
      const { user_id, experiment_id, type, properties } = event
      stored.set(event, { user_id, experiment_id, type, properties, duplicate: false, ...withoutOrd(row) })
    }
  }
  if (plain.length > 0) note(await insertPlainly(em, plain), plain)
  if (others.length > 0) await storeOthers(em, others, note)
  const originals = await readOriginals(em, firsts, stored, note)
  return events.map((event) => {
    const row = stored.get(event)
    if (row) return row
    if (isErased(event)) return 'erased'
    const digest = event.digest as string
    const original = stored.get(firsts.get(digest) as NewEvent) ?? originals.get(digest)
    if (!original) throw new Error(`The event key ${digest} leads to no stored event`)
    return { ...original, duplicate: true }
  })
}

const withoutOrd = ({ ord: _, ...row }: InsertedEvent) => row

type Note = (inserted: readonly InsertedEvent[], of: readonly NewEvent[]) => void

/** Stores events that may decide an assignment, may report an exposure, or need a look-up of their variant. */
async function storeOthers(em: EntityManager, events: readonly NewEvent[], note: Note) {
  const tagged = events.filter((event) => event.digest !== null)
  const claimed = tagged.length === 0 ? [] : await claimKeys(em, tagged)
  const ids = new Map(claimed.map((key) => [key.digest, key.id]))
  const idOf = (event: NewEvent) => (event.digest === null ? null : (ids.get(event.digest) ?? null))
  const fresh = events.filter((event) => event.digest === null || idOf(event) !== null)
  if (fresh.length === 0) return
  await settleAssignments(em, fresh)
  const inserted = await insertEvents(
    em,
    fresh.map((event) => ({ ...event, id: idOf(event) })),
  )
  note(inserted, fresh)
}

type Original = Omit<Stored, 'duplicate'>

/**
 * Reads the stored events of repeated event ids. A key whose event belongs to another user, because the sender was
 * erased, is released, and the event that repeats it is stored as a new one.
 * @returns the stored event, by digest
 */
async function readOriginals(
  em: EntityManager,
  firsts: ReadonlyMap<string, NewEvent>,
  stored: ReadonlyMap<NewEvent, Stored>,
  note: Note,
): Promise<Map<string, Original>> {
  const originals = new Map<string, Original>()
  const repeated = () => [...firsts].flatMap(([digest, event]) => (stored.has(event) ? [] : [digest]))
  const read = async () => {
    const digests = repeated()
    if (digests.length > 0) for (const { digest, ...row } of await readByDigest(em, digests)) originals.set(digest, row)
  }
  await read()
  const foreign = [...originals].filter(([digest, row]) => row.user_id !== firsts.get(digest)?.user_id)
  if (foreign.length === 0) return originals
  const events = foreign.map(([digest]) => firsts.get(digest) as NewEvent)
  await releaseKeys(em, new Map(foreign.map(([digest, row]) => [digest, row.id])))
  await storeOthers(em, events, note)
  await read()
  return originals
}

/**
 * Stores the assignments and exposures that events report. The locks of the experiments' versions prevent that a
 * variant disappears before the transaction commits.
 */
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
