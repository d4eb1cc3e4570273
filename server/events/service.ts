import { createHash } from 'node:crypto'
import type { EntityManager } from '@mikro-orm/sql'
import type { Watch } from '../definitions/watch.ts'
import { DomainError, invalid, notFound, unavailable } from '../errors.ts'
import type { ExperimentDefinition } from '../evaluation/definition.ts'
import { startsOnCheck } from '../evaluation/evaluate.ts'
import { Experiment } from '../experiments/entity.ts'
import type { Starter } from '../experiments/starter.ts'
import type { People } from '../users/people.ts'
import { DEFAULT_LIMIT } from '../wire.ts'
import { type NewEvent, type StoredEvent, selectEvents } from './queries.ts'
import type { Recorder } from './recorder.ts'
import {
  type BatchResult,
  type EventOutput,
  type ListEvents,
  type RecordBatch,
  type RecordEvent,
  recordEvent,
} from './schema.ts'

/** What recording touches. */
export type Recording = { watch: Watch; people: People; recorder: Recorder; starter: Starter }

/** How often an event is prepared again because its user was erased under it. */
const MAX_ATTEMPTS = 5
const AHEAD_MS = 5 * 60 * 1000
const SKEW_MS = 2000
/** Older times are taken for a mistake (seconds for milliseconds, a clock at its epoch). */
const EARLIEST = Date.UTC(2000, 0, 1)

/**
 * Stores one event; answered when it is committed. A known user costs one insert, shared with its neighbours.
 * @param actor who is named in the audit log where the event starts a draft
 * @throws DomainError NOT_FOUND for a user of whom nothing is known, unless the event carries attributes
 */
export async function record(recording: Recording, actor: string, input: RecordEvent): Promise<EventOutput> {
  const { timestamp, duplicate, ...stored } = await recordNow(recording, actor, input)
  return { ...stored, timestamp: new Date(timestamp), ...(duplicate ? { duplicate: true as const } : {}) }
}

/** Records, after another look at the user where they were erased meanwhile. */
async function recordNow(recording: Recording, actor: string, input: RecordEvent) {
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const recorded = await recording.recorder.record(await prepare(recording, actor, input))
    if (recorded !== 'erased') return recorded
    await recording.watch.refresh()
  }
  throw unavailable(`User ${input.user_id} is being joined or erased; try again soon`)
}

/** Checks an event against the definitions, and starts a draft where the event is its first decision. */
async function prepare(recording: Recording, actor: string, input: RecordEvent): Promise<NewEvent> {
  const timestamp = timeOf(input)
  const { user_id, type } = input
  const experiment_id = input.experiment_id ?? null
  const variant_id = input.variant_id ?? null
  if (variant_id !== null && experiment_id === null) throw invalid('A variant needs its experiment_id', 'experiment_id')
  const { watch } = recording
  const people_version = watch.seenVersion(input.user_id)
  const experiment = experiment_id === null ? null : await findExperiment(watch, experiment_id, variant_id)
  if (!input.attributes && !(await recording.people.read(user_id)).known) throw notFound('User', user_id)
  if (experiment && variant_id !== null && startsOnCheck(experiment))
    await recording.starter(actor, experiment.id, 'event', timestamp === null ? undefined : new Date(timestamp))
  const movableStart = experiment && watch.snapshot().experiments.get(experiment.id)?.run?.movableStart
  const early = variant_id !== null && timestamp !== null && timestamp < (movableStart ?? 0)
  const digest = input.event_id == null ? null : digestOf(user_id, input.event_id)
  const properties = input.properties ?? null
  const attributes = variant_id === null ? null : (input.attributes ?? null)
  return { user_id, experiment_id, variant_id, type, properties, attributes, timestamp, digest, early, people_version }
}

/** The event's time in milliseconds, corrected by the sender's clock where that is off; null means now. */
function timeOf({ timestamp, sent_at }: RecordEvent): number | null {
  if (!timestamp) return null
  const now = Date.now()
  const skew = sent_at ? now - sent_at.getTime() : 0
  const time = timestamp.getTime() + (Math.abs(skew) > SKEW_MS ? skew : 0)
  if (time > now + AHEAD_MS) throw invalid('must not be more than 5 minutes ahead', 'timestamp')
  if (time < EARLIEST) throw invalid('must not be before the year 2000', 'timestamp')
  return time
}

async function findExperiment(
  watch: Watch,
  experimentId: number,
  variantId: number | null,
): Promise<ExperimentDefinition> {
  const find = () => {
    const experiment = watch.snapshot().experiments.get(experimentId)
    const belongs = variantId === null || experiment?.variants.some((variant) => variant.id === variantId)
    return { experiment, belongs }
  }
  let { experiment, belongs } = find()
  if (!experiment || !belongs) {
    // It may be newer than this process's snapshot.
    await watch.refresh()
    ;({ experiment, belongs } = find())
  }
  if (!experiment) throw notFound('Experiment', experimentId)
  if (!belongs) throw invalid(`Variant ${variantId} is not one of experiment ${experimentId}`, 'variant_id')
  return experiment
}

/** Length-prefixed, so that no two pairs give one text; the first 128 bits of SHA-256, written as a UUID. */
function digestOf(userId: string, eventId: string) {
  const hex = createHash('sha256')
    .update(`${userId.length}:${userId}${eventId.length}:${eventId}`, 'utf8')
    .digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`
}

/** Stores up to 1000 events; the good ones are stored even if others are rejected. One outcome per event, in order. */
export async function recordBatch(recording: Recording, actor: string, batch: RecordBatch): Promise<BatchResult> {
  const results = await Promise.all(
    batch.events.map(async (given): Promise<BatchResult['results'][number]> => {
      const parsed = recordEvent.safeParse(given)
      if (!parsed.success) {
        const issues = parsed.error.issues.map((issue) => ({ path: issue.path.map(pathStep), message: issue.message }))
        return { status: 'rejected', id: null, message: 'Invalid event', issues }
      }
      try {
        const sent_at = parsed.data.sent_at ?? batch.sent_at
        const { id, duplicate } = await record(recording, actor, { ...parsed.data, sent_at })
        return { status: duplicate ? 'duplicate' : 'accepted', id, message: null }
      } catch (error) {
        if (!(error instanceof DomainError) || error.code === 'SERVICE_UNAVAILABLE') throw error
        const issues = error.path?.length ? [{ path: [...error.path], message: error.message }] : undefined
        return { status: 'rejected', id: null, message: error.message, ...(issues ? { issues } : {}) }
      }
    }),
  )
  const count = (status: BatchResult['results'][number]['status']) =>
    results.filter((result) => result.status === status).length
  return { accepted: count('accepted'), duplicates: count('duplicate'), rejected: count('rejected'), results }
}

const pathStep = (step: PropertyKey) => (typeof step === 'symbol' ? String(step) : step)

/** Events that name the experiment, filtered as documented, by ascending id. */
export async function listEvents(em: EntityManager, filter: ListEvents): Promise<EventOutput[]> {
  if ((await em.count(Experiment, { id: filter.experiment_id })) === 0)
    throw notFound('Experiment', filter.experiment_id)
  const rows: StoredEvent[] = await selectEvents(em, filter, filter.limit ?? DEFAULT_LIMIT)
  return rows.map((row) => ({ ...row, timestamp: new Date(row.timestamp) }))
}
