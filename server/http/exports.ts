import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { exportAssignments } from '../assignments/export.ts'
import { bearerToken, createContext, type Platform } from '../context.ts'
import { exportEvents } from '../events/export.ts'
import { type ExportFormat, exportEvents as eventsSchema, exportFormat } from '../events/schema.ts'
import { authorize, translate } from '../trpc.ts'
import { id } from '../wire.ts'
import { sendFault } from './faults.ts'
import { queryReader } from './query.ts'

/** Exports for a warehouse, as streams of lines of JSON or of comma-separated values. */

const EVENT_COLUMNS = [
  'cursor',
  'id',
  'user_id',
  'person_id',
  'experiment_id',
  'variant_id',
  'type',
  'timestamp',
  'received_at',
  'properties',
] as const
const ASSIGNMENT_COLUMNS = [
  'run',
  'run_id',
  'run_started_at',
  'run_ended_at',
  'user_id',
  'person_id',
  'variant_id',
  'variant_name',
  'period',
  'source',
  'assigned_at',
  'definition_version',
  'exposed_at',
  'exposure_source',
  'excluded_reason',
  'joined_at',
  'dimensions',
] as const
/** They leave the platform as ISO 8601 in UTC. */
const TIMES = new Set([
  'timestamp',
  'received_at',
  'run_started_at',
  'run_ended_at',
  'assigned_at',
  'exposed_at',
  'joined_at',
])
const CONTENT_TYPES = { ndjson: 'application/x-ndjson; charset=utf-8', csv: 'text/csv; charset=utf-8; header=present' }

const readEventQuery = queryReader(eventsSchema)
const readAssignmentQuery = queryReader(z.object({ experiment_id: id, format: exportFormat }))

export function exportRoutes(app: FastifyInstance, platform: Platform) {
  const route = (url: string, rowsOf: (request: FastifyRequest) => [ExportFormat, AsyncGenerator<Row[]>, Columns]) =>
    app.get(url, { exposeHeadRoute: false }, async (request, reply) => {
      try {
        await authorize(createContext(platform, bearerToken(request.headers.authorization)), 'read')
        const [format, pages, columns] = rowsOf(request)
        return await send(reply, format, inTurns(pages, platform.concurrencyLimit), columns)
      } catch (error) {
        return sendFault(reply, platform.log, translate(error))
      }
    })
  route('/events/export', ({ query }) => {
    const filter = readEventQuery(query)
    return [filter.format, exportEvents(platform.orm, filter), EVENT_COLUMNS]
  })
  route('/experiments/:experiment_id/assignments/export', ({ query, params }) => {
    const { experiment_id, format } = readAssignmentQuery({ ...(query as object), ...(params as object) })
    return [format, exportAssignments(platform.orm, experiment_id), ASSIGNMENT_COLUMNS]
  })
}

type Row = object
type Columns = readonly string[]

/** Each page waits for its turn: an export takes no connection from decisions and events. */
async function* inTurns<T>(
  pages: AsyncGenerator<T>,
  concurrencyLimit: Platform['concurrencyLimit'],
): AsyncGenerator<T> {
  try {
    for (;;) {
      const page = await concurrencyLimit.run(() => pages.next())
      if (page.done) return
      yield page.value
    }
  } finally {
    await pages.return(undefined)
  }
}

/** The first page is read before the answer begins, so that what is wrong with the request is still said. */
async function send(reply: FastifyReply, format: ExportFormat, pages: AsyncGenerator<Row[]>, columns: Columns) {
  const first = await pages.next()
  async function* text() {
    if (format === 'csv') yield `${columns.join(',')}\r\n`
    if (first.done) return
    yield page(first.value, format, columns)
    for await (const rows of pages) yield page(rows, format, columns)
  }
  return reply.type(CONTENT_TYPES[format]).header('cache-control', 'no-store').send(Readable.from(text()))
}

const page = (rows: readonly Row[], format: ExportFormat, columns: Columns) =>
  rows.map((row) => line(row as Record<string, unknown>, format, columns)).join('')

function line(row: Record<string, unknown>, format: ExportFormat, columns: Columns): string {
  const values = columns.map((column) => {
    const value = row[column] ?? null
    return TIMES.has(column) && value !== null ? new Date(value as number).toISOString() : value
  })
  if (format === 'csv') return `${values.map(csvField).join(',')}\r\n`
  return `${JSON.stringify(Object.fromEntries(columns.map((column, place) => [column, values[place]])))}\n`
}

/** As RFC 4180 has it; null is an empty field, an empty text a quoted one. Nothing is changed for spreadsheets. */
function csvField(value: unknown): string {
  if (value === null) return ''
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value)
  return text === '' || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
