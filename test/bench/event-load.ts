import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { quantile } from 'simple-statistics'
import { type Body, EVENTS_PER_BATCH } from './event-traffic.ts'

export type Load = { events: number; seconds: number; perSecond: number; p50_ms: number; p99_ms: number }

/** The number of the last body sent. Each body gets its own number, so no event id is sent twice. */
let serial = 0

type Options = {
  token: string
  connections: number
  bodies: readonly Body[]
  single: boolean
  /** The load ends after this many seconds or this many events, whichever comes first. */
  seconds: number
  events?: number
}

/**
 * Sends bodies over keep-alive connections. Each connection waits for an answer before it sends the next body.
 * @throws Error if an answer does not accept every event
 */
export async function loadEvents(urls: readonly string[], options: Options): Promise<Load> {
  const { single, bodies, connections } = options
  if (bodies.length < connections) throw new Error(`${connections} connections need as many bodies: ${bodies.length}`)
  const each = single ? 1 : EVENTS_PER_BATCH
  const most = options.events ?? Number.POSITIVE_INFINITY
  const latencies: number[] = []
  const started = performance.now()
  const until = started + options.seconds * 1000
  let sent = 0
  await Promise.all(
    Array.from({ length: connections }, async (_, index) => {
      const { port, hostname, host } = new URL(urls[index % urls.length] as string)
      const socket = connect(Number(port), hostname)
      await once(socket, 'connect')
      const head =
        `POST /api/events${single ? '' : '/batch'} HTTP/1.1\r\nhost: ${host}\r\n` +
        `authorization: Bearer ${options.token}\r\ncontent-type: application/json\r\n`
      let turn = index
      await converse(socket, single ? '{"id":' : `{"accepted":${each},`, {
        next: () => {
          if (sent >= most || performance.now() >= until) return null
          sent += each
          const body = bodies[turn % bodies.length] as Body
          turn += connections
          body.renew(++serial)
          return [Buffer.from(`${head}content-length: ${body.bytes.length}\r\n\r\n`), body.bytes]
        },
        onAnswer: (milliseconds) => void latencies.push(milliseconds),
      })
      socket.destroy()
    }),
  )
  const seconds = (performance.now() - started) / 1000
  const [p50 = 0, p99 = 0] = latencies.length === 0 ? [] : quantile(latencies, [0.5, 0.99])
  const events = latencies.length * each
  return { events, seconds, perSecond: events / seconds, p50_ms: p50, p99_ms: p99 }
}

type Dialogue = { next: () => Buffer[] | null; onAnswer: (milliseconds: number) => void }

/** Sends one request after the other. @param good the beginning of the body of every good answer */
function converse(socket: Socket, good: string, { next, onAnswer }: Dialogue): Promise<void> {
  return new Promise((resolve, reject) => {
    let head = ''
    let left = -1
    let sentAt = 0
    const send = () => {
      const request = next()
      if (request === null) return resolve()
      sentAt = performance.now()
      socket.cork()
      for (const part of request) socket.write(part)
      socket.uncork()
    }
    socket.setNoDelay()
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('The server closed the connection')))
    socket.on('data', (bytes: Buffer) => {
      if (left < 0) {
        head += bytes.toString('latin1')
        const end = head.indexOf('\r\n\r\n')
        if (end < 0 || head.length < end + 4 + good.length) return
        if (!head.startsWith('HTTP/1.1 200 ') || !head.startsWith(good, end + 4)) {
          reject(new Error(`The server answers:\n${head.slice(0, 1000)}`))
          return
        }
        left = Number(/content-length: (\d+)/i.exec(head)?.[1]) - (head.length - end - 4)
        head = ''
      } else left -= bytes.length
      if (left > 0) return
      left = -1
      onAnswer(performance.now() - sentAt)
      send()
    })
    send()
  })
}
