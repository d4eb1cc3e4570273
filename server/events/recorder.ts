import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import { createGroupCommit } from '../database/group-commit.ts'
import { fencePeople } from '../definitions/people-fence.ts'
import { lockVersions } from '../definitions/queries.ts'
import { EXPOSURE_EVENT } from '../wire.ts'
import {
  claimKeys,
  createPartition,
  decideByEvents,
  exposeByEvents,
  insertEvents,
  lockPartitions,
  moveStartsBack,
  type NewEvent,
  readByDigest,
  reclaimKeys,
  type StoredEvent,
} from './queries.ts'

type Recorded = StoredEvent & { duplicate: boolean }

/** Stores events; those that arrive together share one transaction, and nobody is answered before it committed. */
export type Recorder = {
  /** @returns 'erased' when the user was erased, or joined to another, since they were looked at: look again */
  record: (event: NewEvent) => Promise<Recorded | 'erased'>
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

  const group = createGroupCommit<NewEvent, Recorded | 'erased'>({
    waitMs: 1,
    maxItems: 1000,
    maxWaiting: 20_000,
    concurrency: options.concurrency,
    write: async (events) => {
      await ensurePartitions(events)
      return orm.em.fork().transactional((em) => storeEvents(em, events))
    },
  })
  return { record: group.add, drained: group.drained }
}

async function storeEvents(em: EntityManager, events: NewEvent[]): Promise<(Recorded | 'erased')[]> {
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
