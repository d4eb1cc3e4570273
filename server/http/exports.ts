import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { z } from 'zod'
import { exportAssignments } from '../assignments/export.ts'
import { assignmentsOf, loggedAssignment } from '../assignments/schema.ts'
import { bearerToken, createContext, type Platform } from '../context.ts'
import { exportEvents } from '../events/export.ts'
import { type ExportFormat, exportEvents as eventsSchema, exportedEvent, exportFormat } from '../events/schema.ts'
import { authorize, translate } from '../trpc.ts'
import type { InMilliseconds } from '../wire.ts'
import { sendFault } from './faults.ts'
import { prefersLenient } from './preferences.ts'
import { queryReader } from './query.ts'

/** Serves exports for a data warehouse, as streams of JSON lines or of comma-separated values. */

const CONTENT_TYPES = { ndjson: 'application/x-ndjson; charset=utf-8', csv: 'text/csv; charset=utf-8; header=present' }

const readEventQuery = queryReader(eventsSchema)
const assignmentsSchema = assignmentsOf.extend({ format: exportFormat })
const readAssignmentQuery = queryReader(assignmentsSchema)
/** The inputs of the exports, in which an experiment may be named by its key. */
export const EXPORT_INPUTS = { 'events.export': eventsSchema, 'assignments.export': assignmentsSchema }

/** One export: the format, the pages of rows, and the schema whose fields are the columns. */
type Export<Schema extends z.ZodObject> = {
  format: ExportFormat
  pages: AsyncGenerator<InMilliseconds<z.output<Schema>>[]>
  schema: Schema
}
const exportOf = <Schema extends z.ZodObject>({ format, pages, schema }: Export<Schema>) => ({
  format,
  pages,
  columns: Object.entries(schema.shape).map(([name, type]) => ({ name, isTime: isTime(type) })),
})
const isTime = (type: z.core.$ZodType): boolean =>
  type instanceof z.ZodNullable ? isTime(type.unwrap()) : type instanceof z.ZodDate

export function exportRoutes(app: FastifyInstance, platform: Platform) {
  type Read = (given: object, lenient: boolean) => ReturnType<typeof exportOf>
  const route = (url: string, named: string, read: Read) =>
    app.get(url, { exposeHeadRoute: false }, async ({ headers, query, params }, reply) => {
      try {
        await authorize(createContext(platform, bearerToken(headers.authorization)), 'read')
        const given = await platform.resolveNames(named, { ...(query as object), ...(params as object) })
        const { format, pages, columns } = read(given as object, prefersLenient(headers))
        return await send(reply, format, limited(pages, platform.concurrencyLimit), columns)
      } catch (error) {
        return sendFault(reply, platform.log, translate(error))
      }
    })
  route('/events/export', 'events.export', (given, lenient) => {
    const filter = readEventQuery(given, lenient)
    return exportOf({ format: filter.format, pages: exportEvents(platform.orm, filter), schema: exportedEvent })
  })
  route('/experiments/:experiment_id/assignments/export', 'assignments.export', (given, lenient) => {
    const { experiment_id, format } = readAssignmentQuery(given, lenient)
    return exportOf({ format, pages: exportAssignments(platform.orm, experiment_id), schema: loggedAssignment })
  })
}

type Row = object
/** The columns of an export. Values of a time column are written as ISO 8601 in UTC. */
type Columns = readonly { name: string; isTime: boolean }[]

/** Reads each page within the concurrency limit, so that an export takes no connection from decisions and events. */
async function* limited<T>(
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

/**
 * Sends an export. The first page is read before the answer begins, so that a bad request still gets an error status.
 */
async function send(reply: FastifyReply, format: ExportFormat, pages: AsyncGenerator<Row[]>, columns: Columns) {
  const first = await pages.next()
  async function* text() {
    if (format === 'csv') yield `${columns.map(({ name }) => name).join(',')}\r\n`
    if (first.done) return
    yield page(first.value, format, columns)
    for await (const rows of pages) yield page(rows, format, columns)
  }
  return reply.type(CONTENT_TYPES[format]).header('cache-control', 'no-store').send(Readable.from(text()))
}

const page = (rows: readonly Row[], format: ExportFormat, columns: Columns) =>
  rows.map((row) => line(row as Record<string, unknown>, format, columns)).join('')

function line(row: Record<string, unknown>, format: ExportFormat, columns: Columns): string {
  const values = columns.map(({ name, isTime }): [string, unknown] => {
    const value = row[name] ?? null
    return [name, isTime && value !== null ? new Date(value as number).toISOString() : value]
  })
  if (format === 'csv') return `${values.map(([, value]) => csvField(value)).join(',')}\r\n`
  return `${JSON.stringify(Object.fromEntries(values))}\n`
}

/**
 * Writes a field of a CSV file as RFC 4180 prescribes. Null is an empty field, and an empty text is a quoted empty
 * field. Values are not changed to suit spreadsheets.
 */
function csvField(value: unknown): string {
  if (value === null) return ''
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value)
  return text === '' || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
