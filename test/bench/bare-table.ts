import pg from 'pg'
import { EVENTS_PER_BATCH, type MadeEvent } from './event-traffic.ts'

/**
 * A table with the columns of `events` and no index, which one client fills. It shows the rate of PostgreSQL itself
 * with the same rows.
 */
export type BareTable = {
  /** Inserts 1,000 rows per statement, with a parameter per value. @returns rows per second */
  insert: (seconds: number) => Promise<number>
  /** Copies 1,000 rows at a time, as text. @returns rows per second */
  copy: (seconds: number) => Promise<number>
  close: () => Promise<void>
}

const COLUMNS = ['id', 'user_id', 'experiment_id', 'variant_id', 'type', 'timestamp', 'received_at', 'properties']

export async function openBareTable(url: string, events: readonly MadeEvent[]): Promise<BareTable> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query('create table bare_events as select * from events with no data')
  await client.query('alter table bare_events alter column xid set default pg_current_xact_id()')
  let id = 0
  const row = (event: MadeEvent, now: string) => [
    ++id,
    event.user_id,
    event.experiment_id,
    event.variant_id,
    event.type,
    now,
    now,
    event.properties && JSON.stringify(event.properties),
  ]
  const nextRows = () => {
    const now = new Date().toISOString()
    return Array.from({ length: EVENTS_PER_BATCH }, () => row(events[id % events.length] as MadeEvent, now))
  }
  const tuples = Array.from({ length: EVENTS_PER_BATCH }, (_, index) => {
    const parameters = COLUMNS.map((_, column) => `$${index * COLUMNS.length + column + 1}`)
    return `(${parameters.join(',')})`
  })
  const insert = `insert into bare_events (${COLUMNS.join(', ')}) values ${tuples.join(',')}`

  async function repeat(seconds: number, once: () => Promise<unknown>) {
    await client.query('truncate bare_events')
    const began = performance.now()
    let rows = 0
    for (; performance.now() - began < seconds * 1000; rows += EVENTS_PER_BATCH) await once()
    return rows / ((performance.now() - began) / 1000)
  }
  return {
    insert: (seconds) => repeat(seconds, () => client.query(insert, nextRows().flat())),
    copy: (seconds) => repeat(seconds, () => copyIn(client, nextRows())),
    close: () => client.end(),
  }
}

const escaped = (value: string | number | null) =>
  value === null
    ? '\\N'
    : String(value).replace(/[\\\t\n\r]/g, (found) => `\\${{ '\t': 't', '\n': 'n', '\r': 'r' }[found] ?? found}`)

type CopyConnection = {
  query: (text: string) => void
  sendCopyFromChunk: (chunk: Buffer) => void
  endCopyFrom: () => void
}

/** Runs a COPY. `pg` has no function for this, so the code answers the messages of the protocol. */
function copyIn(client: pg.Client, rows: readonly (readonly (string | number | null)[])[]): Promise<void> {
  const text = rows.map((row) => `${row.map(escaped).join('\t')}\n`).join('')
  return new Promise((resolve, reject) => {
    const copying = {
      submit: (connection: CopyConnection) => connection.query(`copy bare_events (${COLUMNS.join(', ')}) from stdin`),
      handleCopyInResponse: (connection: CopyConnection) => {
        connection.sendCopyFromChunk(Buffer.from(text))
        connection.endCopyFrom()
      },
      handleCommandComplete: () => {},
      handleReadyForQuery: () => resolve(),
      handleError: reject,
    }
    client.query(copying as unknown as pg.Submittable)
  })
}
