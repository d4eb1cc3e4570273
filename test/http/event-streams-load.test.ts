import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { connect, type Socket } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Snapshot } from '../../server/definitions/snapshot.ts'
import { createEventStreams, type EventStreams } from '../../server/http/event-streams.ts'
import { oneDatabase, openApp, type TestApp } from '../support/app.ts'
import { openStream, streamLink } from '../support/event-stream.ts'

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const stateOf = ({ platform }: TestApp) => String(platform.definitions.watch.snapshot().version)

/** Opens a stream and never reads from it. */
async function openUnread(link: string): Promise<Socket> {
  const { hostname, port, pathname, search, host } = new URL(link)
  const socket = connect(Number(port), hostname).pause()
  await once(socket, 'connect')
  socket.write(`GET ${pathname}${search} HTTP/1.1\r\nhost: ${host}\r\n\r\n`)
  return socket.on('error', () => {})
}

describe('500 streams on one process', () => {
  let app: TestApp
  beforeAll(async () => {
    app = await openApp(oneDatabase())
  })
  afterAll(() => app.close())

  test('are all notified of a change within a second, even if some readers never read', async () => {
    const link = await streamLink(app)
    const unread = await Promise.all(Array.from({ length: 20 }, () => openUnread(link)))
    const streams = await Promise.all(Array.from({ length: 500 }, () => openStream(link)))
    expect(new Set(streams.map(({ status }) => status))).toEqual(new Set([200]))
    for (const key of ['sent-to-all', 'sent-again']) {
      await app.api.ok('POST', '/api/flags', { key, type: 'boolean', default_value: true })
      const changed = Date.now()
      const events = await Promise.all(streams.map(({ eventOf }) => eventOf(stateOf(app), 2000)))
      expect(Math.max(...events.map(({ at }) => at)) - changed).toBeLessThan(1000)
    }
    for (const socket of unread) socket.destroy()
    for (const { close } of streams) close()
  }, 60_000)

  test('end when the process closes, even if their readers never read', async () => {
    const closing = await openApp(oneDatabase())
    const link = await streamLink(closing)
    const sockets = await Promise.all(Array.from({ length: 10 }, () => openUnread(link)))
    await pause(100)
    const since = performance.now()
    await closing.close()
    expect(performance.now() - since).toBeLessThan(2000)
    for (const socket of sockets) socket.destroy()
  })
})

/** The time that a refresh of the version takes, during which a client may disconnect. */
const REFRESH_MS = 100

/** The connections of these tests have no kernel buffers: a kilobyte that is not read blocks the stream. */
describe('a reader who does not read', () => {
  const limits = { heartbeatMs: 50, maxBlockedMs: 400, leastIntervalMs: 0, maxStreams: 20 }
  let version = 1
  let onChange = () => {}
  let revoked = false
  let onRevoked = () => {}
  let server: Server
  let streams: EventStreams
  const connections: Duplex[] = []

  beforeAll(async () => {
    const app = await openApp(oneDatabase())
    const { keyRing, definitions } = app.platform
    const { watch } = definitions
    const numbered = {
      ...watch,
      snapshot: (): Snapshot => ({ ...watch.snapshot(), version, changedAt: Date.now() }),
      onChange: (listener: (snapshot: Snapshot) => void) => {
        onChange = () => listener(numbered.snapshot())
      },
      refresh: async (): Promise<Snapshot> => {
        await pause(REFRESH_MS)
        return numbered.snapshot()
      },
    }
    const revocable = {
      ...keyRing,
      isActive: async () => !revoked,
      onChange: (listener: () => void) => {
        onRevoked = listener
      },
    }
    streams = createEventStreams({ watch: numbered, keyRing: revocable }, limits)
    server = createServer((request, response) => {
      const lastEventId = request.headers['last-event-id']
      void streams.open(1, lastEventId as string | undefined, () => ({ response, headers: {} }))
    })
    await app.close()
  })
  afterAll(() => {
    streams.close()
    for (const connection of connections) connection.destroy()
  })

  function connected(lastEventId?: string): Duplex {
    const [mine, theirs] = duplexPair({ highWaterMark: 1024 })
    // Node's HTTP server calls these methods, which only sockets have.
    const socket = Object.assign(theirs, { setTimeout: () => theirs, setNoDelay: () => theirs })
    server.emit('connection', socket)
    mine.on('error', () => {})
    const header = lastEventId === undefined ? '' : `last-event-id: ${lastEventId}\r\n`
    mine.write(`GET / HTTP/1.1\r\nhost: test\r\n${header}\r\n`)
    connections.push(mine)
    return mine
  }
  async function change(times: number) {
    for (let change = 0; change < times; change++) {
      version++
      onChange()
      await pause(1)
    }
    await pause(20)
  }
  /** Reads all available bytes. @returns all that was read so far */
  function reading(connection: Duplex): () => string {
    let text = ''
    connection.setEncoding('utf8').on('data', (data) => {
      text += data
    })
    return () => text
  }
  async function until(holds: () => boolean) {
    for (let waited = 0; !holds(); waited += 10) {
      if (waited > 3000) throw new Error('not within three seconds')
      await pause(10)
    }
  }

  test('gets no more events, but the latest state on reading again, and is disconnected otherwise', async () => {
    const other = reading(connected())
    const late = connected()
    const never = connected()
    await until(() => streams.count() === 3)
    await change(60)
    expect(other()).toContain(`id: ${version}\n`)
    const held = [late, never].map((connection) => connection.readableLength)
    await change(20)
    expect(other(), 'nobody waits for them').toContain(`id: ${version}\n`)
    expect([late, never].map((connection) => connection.readableLength)).toEqual(held)

    const read = reading(late)
    await until(() => read().includes(`id: ${version}\n`))
    expect(read().split('refetchEvaluation').length - 1, 'the missed changes are sent as one event').toBeLessThan(40)

    await until(() => streams.count() === 2)
    await change(1)
    await until(() => read().includes(`id: ${version}\n`) && other().includes(`id: ${version}\n`))
  })

  test('is disconnected when the key is revoked, and nothing is written after that', async () => {
    const unread = connected()
    await until(() => streams.count() === 3)
    await change(60)
    revoked = true
    onRevoked()
    await pause(20)
    expect(streams.count()).toBe(0)
    reading(unread)
    await change(5)
    revoked = false
  })

  test('leaves no stream behind by disconnecting before the stream is open', async () => {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    const leaving = connect(port, '127.0.0.1')
    leaving.write(`GET / HTTP/1.1\r\nhost: test\r\nlast-event-id: ${version + 1}\r\n\r\n`)
    await once(server, 'request')
    leaving.destroy()
    await pause(REFRESH_MS + 100)
    server.close()
    expect(streams.count()).toBe(0)
  })

  test('gets heartbeats while nothing changes', async () => {
    const text = reading(connected())
    await until(() => text().split(':\n\n').length > 3)
  })

  test('counts towards the limit, beyond which no stream is opened', async () => {
    for (let more = streams.count(); more < limits.maxStreams; more++) connected()
    await until(() => streams.count() === limits.maxStreams)
    let begun = false
    const opened = await streams.open(1, undefined, () => {
      begun = true
      throw new Error('too many')
    })
    expect([opened, begun]).toEqual([false, false])
  })
})
