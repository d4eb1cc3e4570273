import { createHash } from 'node:crypto'
import type { AssignmentMemory } from '../assignments/memory.ts'
import type { Watch } from '../definitions/watch.ts'
import { DomainError, invalid, notFound, notItsVariant, unavailable, unknownUser } from '../errors.ts'
import type { ExperimentDefinition } from '../evaluation/definition.ts'
import { startsOnEvent } from '../evaluation/evaluate.ts'
import type { Starter } from '../experiments/starter.ts'
import { knownOnly } from '../fields.ts'
import { type Issue, issuesOf, sentencesOf } from '../sentences.ts'
import type { ProfileCache } from '../users/profile-cache.ts'
import { EXPOSURE_EVENT, UnreadableItem } from '../wire.ts'
import { expectExposing, timeOf } from './checks.ts'
import { withIds } from './named.ts'
import type { NewEvent } from './queries.ts'
import type { Recorded, Recorder } from './recorder.ts'
import { differenceOf } from './repeated.ts'
import { type BatchResult, type EventOutput, type RecordBatch, type RecordEvent, recordEvent } from './schema.ts'

/** The parts of the platform that recording an event uses. */
export type Recording = {
  readonly watch: Watch
  readonly profiles: ProfileCache
  readonly memory: AssignmentMemory
  readonly recorder: Recorder
  readonly starter: Starter
}

/** How often an event is prepared, each time after its user was erased or joined before the event could be stored. */
const MAX_ATTEMPTS = 5

/**
 * Stores one event and returns it after the commit. An event of a known user costs one insert, which it shares with
 * events that arrive at the same time.
 * @param actor the name that the audit log shows when the event starts a draft
 * @throws DomainError NOT_FOUND for an unknown user unless the event carries attributes, and for an unknown experiment;
 *   BAD_REQUEST for a variant of another experiment, a time that is not accepted, or an exposure that exposes nobody
 */
export async function record(recording: Recording, actor: string, input: RecordEvent): Promise<EventOutput> {
  const { timestamp, duplicate, outside_run, ...stored } = await recordNow(recording, actor, input)
  const message = duplicate ? differenceOf(input, { ...stored, timestamp }) : null
  const marks = marked({ duplicate, outside_run })
  return { ...stored, timestamp: new Date(timestamp), ...marks, ...(message === null ? {} : { message }) }
}

/** Keeps the marks that are true: an answer has no field for a mark that does not hold. */
function marked<Name extends string>(marks: Record<Name, boolean>) {
  const held = Object.entries(marks).filter(([, isHeld]) => isHeld)
  return Object.fromEntries(held) as Partial<Record<Name, true>>
}

/** Stores one event. When its user was erased or joined meanwhile, the event is prepared again from fresh data. */
async function recordNow(recording: Recording, actor: string, input: RecordEvent) {
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const [recorded] = await recording.recorder.record([await prepare(recording, actor, input)])
    if (recorded instanceof Error) throw recorded
    if (recorded && recorded !== 'erased') return recorded
    await recording.watch.refresh()
  }
  throw unavailable(`User ${input.user_id} is being joined or erased at this moment; send the event again soon`)
}

/**
 * Checks an event against the definitions. Starts the experiment if it is a draft and the event is its first decision.
 * Returns without a promise for a known user in an experiment that has started.
 * @param isWelcome true accepts an unknown user id, because this event or another of its batch carries attributes
 */
function prepare(
  recording: Recording,
  actor: string,
  input: RecordEvent,
  isWelcome = input.attributes != null,
): NewEvent | Promise<NewEvent> {
  const { watch, profiles, memory } = recording
  const timestamp = timeOf(input)
  const { user_id, experiment_id = null, variant_id = null } = input
  if (variant_id !== null && experiment_id === null)
    throw invalid(`must be given beside variant_id ${variant_id}: name the experiment of the variant`, 'experiment_id')
  expectExposing(input)
  const profiles_version = watch.seenVersion(user_id)
  const experiment = experiment_id === null ? null : experimentOf(watch, experiment_id, variant_id)
  const isStarted = experiment !== undefined && !(experiment && variant_id !== null && startsOnEvent(experiment))
  const isRemembered = experiment === null || memory.peek(user_id) !== undefined
  if (isStarted && isRemembered && (isWelcome || profiles.isKnown(user_id)))
    return newEvent(recording, input, timestamp, profiles_version)
  return prepareSlowly(recording, actor, input, isWelcome, timestamp, profiles_version)
}

async function prepareSlowly(
  recording: Recording,
  actor: string,
  input: RecordEvent,
  isWelcome: boolean,
  timestamp: number | null,
  profiles_version: number,
): Promise<NewEvent> {
  const { user_id, experiment_id, variant_id } = input
  const experiment =
    experiment_id == null ? null : await findExperiment(recording.watch, experiment_id, variant_id ?? null)
  if (!isWelcome && !(await recording.profiles.read(user_id)).known) throw unknownUser(user_id)
  if (experiment && variant_id != null && startsOnEvent(experiment))
    await recording.starter(actor, experiment.id, 'event', timestamp === null ? undefined : new Date(timestamp))
  // Loading the user's assignments into memory saves a look-up for each later event of this user.
  if (experiment?.run && !recording.memory.peek(user_id)) await recording.memory.load(user_id)
  return newEvent(recording, input, timestamp, profiles_version)
}

function newEvent(
  recording: Recording,
  input: RecordEvent,
  timestamp: number | null,
  profiles_version: number,
): NewEvent {
  const { user_id, type, experiment_id = null, variant_id = null, properties = null } = input
  const movableStart =
    experiment_id === null ? null : recording.watch.snapshot().experiments.get(experiment_id)?.run?.movableStart
  const attributes = variant_id === null ? null : (input.attributes ?? null)
  const settled = settledVariant(recording, input, timestamp)
  const properties_json = properties && JSON.stringify(properties)
  return {
    user_id,
    experiment_id,
    variant_id: settled === undefined ? variant_id : settled,
    type,
    properties,
    attributes,
    timestamp,
    digest: input.event_id == null ? null : digestOf(user_id, input.event_id),
    early: variant_id !== null && timestamp !== null && timestamp < (movableStart ?? 0),
    settled: settled !== undefined,
    properties_json,
    size: (properties_json?.length ?? 0) + (attributes ? JSON.stringify(attributes).length : 0),
    profiles_version,
  }
}

/**
 * Finds the variant to store with an event, if this process has the user's assignment in memory and the event, at its
 * time, neither creates nor changes an assignment.
 * @returns null for an event without an experiment; undefined when the database has to decide
 */
function settledVariant(
  { watch, memory }: Recording,
  { user_id, experiment_id, variant_id, type }: RecordEvent,
  timestamp: number | null,
): number | null | undefined {
  if (experiment_id == null) return null
  const experiment = watch.snapshot().experiments.get(experiment_id)
  if (!experiment?.run || (experiment.status !== 'running' && experiment.status !== 'paused')) return undefined
  const stored = memory.peek(user_id)?.get(experiment.run.id)
  if (!stored) return undefined
  const isReport = variant_id != null || type === EXPOSURE_EVENT
  if (isReport && (stored.settledAt === undefined || (variant_id ?? stored.variantId) !== stored.variantId))
    return undefined
  const from = isReport ? (stored.settledAt as number) : stored.assignedAt
  return timestamp === null || timestamp >= from ? stored.variantId : undefined
}

/**
 * @returns undefined when this process's snapshot does not hold the experiment, or the experiment has no such variant
 */
function experimentOf(watch: Watch, experimentId: number, variantId: number | null): ExperimentDefinition | undefined {
  const experiment = watch.snapshot().experiments.get(experimentId)
  const belongs = variantId === null || experiment?.variants.some((variant) => variant.id === variantId)
  return belongs ? experiment : undefined
}

async function findExperiment(
  watch: Watch,
  experimentId: number,
  variantId: number | null,
): Promise<ExperimentDefinition> {
  const known = experimentOf(watch, experimentId, variantId)
  if (known) return known
  // The experiment or the variant may be newer than this process's snapshot.
  await watch.refresh()
  const experiment = experimentOf(watch, experimentId, variantId)
  if (experiment) return experiment
  const other = watch.snapshot().experiments.get(experimentId)
  if (!other) throw notFound('Experiment', experimentId)
  throw invalid(notItsVariant(experimentId, Number(variantId), other.variants), 'variant_id')
}

/**
 * Computes the digest of (user, event id): the first 128 bits of SHA-256, written as a UUID. Each part is prefixed with
 * its length, so that two different pairs never give the same text.
 */
function digestOf(userId: string, eventId: string) {
  const hex = createHash('sha256')
    .update(`${userId.length}:${userId}${eventId.length}:${eventId}`, 'utf8')
    .digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`
}

type Outcome = BatchResult['results'][number]

/**
 * Stores up to 1000 events. A bad event is rejected without affecting the others.
 * @param lenient true: unknown fields of events are ignored
 * @returns the counts, and one outcome for each event, in the order of the batch
 * @throws DomainError SERVICE_UNAVAILABLE when events cannot be stored now
 */
export async function recordBatch(
  recording: Recording,
  actor: string,
  batch: RecordBatch,
  lenient: boolean,
): Promise<BatchResult> {
  const events = await withIds(recording.watch, batch.events)
  const inputs = events.map((given) => readItem(given, batch.sent_at, lenient))
  // An event with attributes makes its user known for all events of the batch.
  const welcome = new Set<string>()
  for (const input of inputs) if ('user_id' in input && input.attributes) welcome.add(input.user_id)
  const prepared = await Promise.all(
    inputs.map((input) =>
      'user_id' in input ? rejectable(() => prepare(recording, actor, input, welcome.has(input.user_id))) : input,
    ),
  )
  const accepted = prepared.filter((item): item is NewEvent => 'user_id' in item)
  const recorded = await recording.recorder.record(accepted)
  const stored = new Map(accepted.map((event, index) => [event, recorded[index] as Recorded | Error]))
  const results = await Promise.all(
    prepared.map((item, index): Outcome | Promise<Outcome> => {
      if (!('user_id' in item)) return item
      const row = stored.get(item) as Recorded | Error
      const input = inputs[index] as RecordEvent
      if (row !== 'erased') return outcomeOf(row, input)
      return rejectable(async () => outcomeOf(await recordNow(recording, actor, input), input))
    }),
  )
  const count = (status: Outcome['status']) => results.filter((result) => result.status === status).length
  return {
    accepted: count('accepted'),
    duplicates: count('duplicate'),
    rejected: count('rejected'),
    outside_run: results.filter((result) => result.outside_run).length,
    results,
  }
}

function readItem(given: unknown, sentAt: Date | null | undefined, lenient: boolean): RecordEvent | Outcome {
  if (given instanceof UnreadableItem) return { status: 'rejected', id: null, message: given.message }
  const parsed = recordEvent.safeParse(lenient ? knownOnly(recordEvent, given) : given)
  if (parsed.success) return sentAt && !parsed.data.sent_at ? { ...parsed.data, sent_at: sentAt } : parsed.data
  return invalidEvent(issuesOf(parsed.error))
}

const MAX_MESSAGE = 1000
const invalidEvent = (issues: Issue[]): Outcome => ({
  status: 'rejected',
  id: null,
  message: `Invalid event: ${sentencesOf(issues)}`.slice(0, MAX_MESSAGE),
  issues,
})

/**
 * Does the work, or turns a fault of the event into an outcome `rejected`. Errors that are not the event's fault, such
 * as an unavailable database, are thrown.
 */
function rejectable<T extends object>(work: () => T | Promise<T>): T | Outcome | Promise<T | Outcome> {
  try {
    const result = work()
    return result instanceof Promise ? result.catch(rejectedFor) : result
  } catch (error) {
    return rejectedFor(error)
  }
}

function rejectedFor(error: unknown): Outcome {
  if (!(error instanceof DomainError) || error.code === 'SERVICE_UNAVAILABLE') throw error
  if (!error.path?.length) return { status: 'rejected', id: null, message: error.message }
  return invalidEvent([{ path: [...error.path], message: error.message }])
}

const outcomeOf = (row: Exclude<Recorded, 'erased'> | Error, input: RecordEvent): Outcome =>
  row instanceof Error
    ? { status: 'rejected', id: null, message: 'The event could not be stored: the server failed, try it once more' }
    : {
        status: row.duplicate ? 'duplicate' : 'accepted',
        id: row.id,
        message: row.duplicate ? differenceOf(input, row) : null,
        ...marked({ outside_run: row.outside_run }),
      }
