import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { exportAssignments } from '../assignments/export.ts'
import { loggedAssignment } from '../assignments/schema.ts'
import { bearerToken, createContext, type Platform } from '../context.ts'
import { exportEvents } from '../events/export.ts'
import { type ExportFormat, exportEvents as eventsSchema, exportedEvent, exportFormat } from '../events/schema.ts'
import { authorize, translate } from '../trpc.ts'
import { type InMilliseconds, id } from '../wire.ts'
import { sendFault } from './faults.ts'
import { queryReader } from './query.ts'

/** Exports for a warehouse, as streams of lines of JSON or of comma-separated values. */

const CONTENT_TYPES = { ndjson: 'application/x-ndjson; charset=utf-8', csv: 'text/csv; charset=utf-8; header=present' }

const readEventQuery = queryReader(eventsSchema)
const readAssignmentQuery = queryReader(z.object({ experiment_id: id, format: exportFormat }))

/** An export: its format, pages of rows, and the schema whose fields are the columns. */
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
  const route = (url: string, read: (request: FastifyRequest) => ReturnType<typeof exportOf>) =>
    app.get(url, { exposeHeadRoute: false }, async (request, reply) => {
      try {
        await authorize(createContext(platform, bearerToken(request.headers.authorization)), 'read')
        const { format, pages, columns } = read(request)
        return await send(reply, format, inTurns(pages, platform.concurrencyLimit), columns)
      } catch (error) {
        return sendFault(reply, platform.log, translate(error))
      }
    })
  route('/events/export', ({ query }) => {
    const filter = readEventQuery(query)
    return exportOf({ format: filter.format, pages: exportEvents(platform.orm, filter), schema: exportedEvent })
  })
  route('/experiments/:experiment_id/assignments/export', ({ query, params }) => {
    const { experiment_id, format } = readAssignmentQuery({ ...(query as object), ...(params as object) })
    return exportOf({ format, pages: exportAssignments(platform.orm, experiment_id), schema: loggedAssignment })
  })
}

type Row = object
/** Times leave the platform as ISO 8601 in UTC. */
type Columns = readonly { name: string; isTime: boolean }[]

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

/** As RFC 4180 has it; null is an empty field, an empty text a quoted one. Nothing is changed for spreadsheets. */
function csvField(value: unknown): string {
  if (value === null) return ''
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value)
  return text === '' || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
