import { setTimeout as sleep } from 'node:timers/promises'
import { isDatabaseUnavailable } from '../database/errors.ts'
import { DomainError } from '../errors.ts'
import { linesOf } from './lines.ts'
import type { BatchResult, ImportReport } from './schema.ts'
import { type Recording, recordBatch } from './service.ts'

export const MAX_LINE_BYTES = 1024 * 1024
const GROUP_EVENTS = 1000
const GROUP_BYTES = 4 * 1024 * 1024
/** Groups that are being stored while the next group is read. */
const AT_ONCE = 2
const PROGRESS_MS = 1000
/** Bad lines that the answer describes; further bad lines are only counted. */
const MAX_DESCRIBED = 1000
/** Pauses before each retry while the database is overloaded or unavailable: about 12 seconds in all. */
const WAITS_MS = [100, 200, 400, 800, 1600, 3000, 6000]

type Item = { number: number; event: unknown; fault: string | null }
type Group = { items: Item[]; bytes: number; last: number }

/**
 * Stores the events of an upload, one JSON object a line, in groups and in constant memory. A line that cannot be read
 * or stored is reported by its number, and the upload goes on. The client can send an interrupted upload again: events
 * with the same event ids are not counted twice.
 * @param upload.parse parses a line strictly. @throws Error whose message names the fault
 * @param upload.stopped aborts when the process is about to end
 * @param upload.lenient true: unknown fields of events are ignored
 * @returns reports of bad lines, progress about once a second and, last, the outcome
 * @throws DomainError or the database's error when the upload fails before any line is stored or rejected
 */
export async function* importEvents(
  recording: Recording,
  actor: string,
  upload: {
    chunks: AsyncIterable<Buffer>
    sentAt: Date | undefined
    parse: (bytes: Buffer) => unknown
    stopped: AbortSignal
    lenient: boolean
  },
): AsyncGenerator<ImportReport> {
  const counts = { accepted: 0, duplicates: 0, rejected: 0, outside_run: 0 }
  const underWay: { group: Group; outcomes: Promise<BatchResult['results']> }[] = []
  let described = 0
  let stored = 0
  let reportedAt = performance.now()

  const start = (group: Group) => {
    const outcomes = storeGroup(recording, actor, group, upload)
    outcomes.catch(() => {})
    underWay.push({ group, outcomes })
  }
  /** Waits until the oldest group is stored, and reports its bad lines. */
  async function* finishOldest(): AsyncGenerator<ImportReport> {
    const oldest = underWay.shift()
    if (!oldest) return
    const outcomes = await oldest.outcomes
    let index = 0
    for (const { number, fault } of oldest.group.items) {
      const { status, message, issues, outside_run } =
        fault === null ? (outcomes[index++] as (typeof outcomes)[number]) : rejected(fault)
      counts[status === 'accepted' ? 'accepted' : status === 'duplicate' ? 'duplicates' : 'rejected']++
      if (outside_run) counts.outside_run++
      const isFault = status === 'rejected' || (status === 'duplicate' && message !== null)
      if (isFault && ++described <= MAX_DESCRIBED)
        yield { line: number, status, message: message ?? '', ...(issues ? { issues } : {}) }
    }
    stored = oldest.group.last
    if (performance.now() - reportedAt < PROGRESS_MS) return
    reportedAt = performance.now()
    yield { line: stored, ...counts }
  }

  let group: Group = { items: [], bytes: 0, last: 0 }
  let lines = 0
  try {
    for await (const { number, bytes } of linesOf(upload.chunks, MAX_LINE_BYTES)) {
      if (upload.stopped.aborted)
        throw new DomainError('SERVICE_UNAVAILABLE', 'The server is about to stop; send the rest again')
      lines = number
      group.items.push(readLine(number, bytes, upload.parse))
      group.bytes += bytes?.length ?? 0
      group.last = number
      if (group.items.length < GROUP_EVENTS && group.bytes < GROUP_BYTES) continue
      start(group)
      group = { items: [], bytes: 0, last: 0 }
      if (underWay.length >= AT_ONCE) yield* finishOldest()
    }
    if (group.items.length > 0) start(group)
    while (underWay.length > 0) yield* finishOldest()
    yield { done: true, lines, ...counts }
  } catch (error) {
    if (stored === 0 && counts.rejected === 0) throw error
    const isCallers = error instanceof DomainError || (error as { statusCode?: number }).statusCode !== undefined
    if (!isCallers && !isDatabaseUnavailable(error)) throw error
    const message = isCallers ? (error as Error).message : 'The database is unavailable; send the rest again later'
    yield { done: false, line: stored, message, ...counts }
  }
}

function readLine(number: number, bytes: Buffer | null, parse: (bytes: Buffer) => unknown): Item {
  if (bytes === null)
    return { number, event: null, fault: `The line is longer than ${MAX_LINE_BYTES} bytes; shorten the event` }
  try {
    return { number, event: parse(bytes), fault: null }
  } catch (error) {
    return { number, event: null, fault: (error as Error).message.replace('The body', 'The line') }
  }
}

const rejected = (message: string): BatchResult['results'][number] => ({ status: 'rejected', id: null, message })

async function storeGroup(
  recording: Recording,
  actor: string,
  { items }: Group,
  { sentAt: sent_at, lenient }: { sentAt: Date | undefined; lenient: boolean },
) {
  const events = items.flatMap(({ event, fault }) => (fault === null ? [event as never] : []))
  if (events.length === 0) return []
  for (let attempt = 0; ; attempt++) {
    try {
      return (await recordBatch(recording, actor, { events, sent_at }, lenient)).results
    } catch (error) {
      const wait = WAITS_MS[attempt]
      const mayPass =
        isDatabaseUnavailable(error) || (error instanceof DomainError && error.code === 'SERVICE_UNAVAILABLE')
      if (!mayPass || wait === undefined) throw error
      await sleep(wait)
    }
  }
}
