import { type ClientRequest, get, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import type { TestApp } from './app.ts'

export type StreamEvent = { id: string; etag: string; lastModified: number; at: number }

/** What a browser's EventSource would hear, and what it would not: comments, the connection's headers and end. */
export type EventStream = {
  status: number
  headers: IncomingHttpHeaders
  /** All that was received. */
  text: () => string
  /** Those that make a client evaluate again, in the order they came. */
  events: StreamEvent[]
  /** What EventSource would send as Last-Event-ID. */
  lastId: () => string
  /** The first event, now or later, that a state answers to. @throws Error unless it comes in time */
  told: (id: string, withinMs?: number) => Promise<StreamEvent>
  ended: Promise<void>
  close: () => void
}

/** A link to the stream of changes, as a bulk evaluation answers it. */
export async function streamLink({ api, url }: Pick<TestApp, 'api' | 'url'>, token?: string): Promise<string> {
  const { body } = await api.call('POST', '/ofrep/v1/evaluate/flags', { context: { targetingKey: 'ada' } }, token)
  return `${url}${body.eventStreams[0].endpoint.requestUri}`
}

/** Opens a stream of changes; of one that is refused `text` is the answer. */
export async function openStream(url: string, headers: Record<string, string> = {}): Promise<EventStream> {
  const events: StreamEvent[] = []
  const heard = new Set<() => void>()
  let received = ''
  let rest = ''
  let lastId = ''
  function read(text: string) {
    received += text
    const blocks = (rest + text).split('\n\n')
    rest = blocks.pop() ?? ''
    for (const block of blocks) {
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1]
      lastId = field('id') ?? lastId
      const data = field('data')
      if (data === undefined) continue
      const { type, etag, lastModified } = JSON.parse(data)
      if (type === 'refetchEvaluation') events.push({ id: lastId, etag, lastModified, at: Date.now() })
    }
    for (const listener of heard) listener()
  }
  const [request, response] = await new Promise<[ClientRequest, IncomingMessage]>((resolve, reject) => {
    const asked = get(url, { agent: false, headers }, (answer) => resolve([asked, answer])).on('error', reject)
  })
  response.setEncoding('utf8').on('data', read)
  const ended = new Promise<void>((resolve) => response.once('close', resolve))
  if (response.statusCode !== 200) await ended
  else if (received === '') await new Promise<void>((resolve) => response.once('data', () => resolve()))
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    text: () => received,
    events,
    lastId: () => lastId,
    told: (id, withinMs = 1000) =>
      new Promise((resolve, reject) => {
        const late = setTimeout(() => {
          heard.delete(look)
          reject(new Error(`Not told of ${id} within ${withinMs} ms, but: ${received}`))
        }, withinMs)
        const look = () => {
          const found = events.find((event) => event.id === id)
          if (!found) return
          clearTimeout(late)
          heard.delete(look)
          resolve(found)
        }
        heard.add(look)
        look()
      }),
    ended,
    close: () => void request.destroy(),
  }
}
