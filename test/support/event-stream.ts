import { type ClientRequest, get, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import type { TestApp } from './app.ts'

export type StreamEvent = { id: string; etag: string; lastModified: number; at: number }

/** A stream as a browser's EventSource receives it, with the headers, comments and end that EventSource hides. */
export type EventStream = {
  status: number
  headers: IncomingHttpHeaders
  /** Returns the text that was received so far. */
  text: () => string
  /** The received events that make a client evaluate again, in order. */
  events: StreamEvent[]
  /** Returns the id that EventSource would send as Last-Event-ID. */
  lastId: () => string
  /** Waits for the first event with the id of a state. @throws Error unless it arrives in time; default: one second */
  eventOf: (id: string, withinMs?: number) => Promise<StreamEvent>
  ended: Promise<void>
  close: () => void
}

/** Reads the link to the stream of changes from a bulk evaluation. */
export async function streamLink({ api, url }: Pick<TestApp, 'api' | 'url'>, token?: string): Promise<string> {
  const { body } = await api.call('POST', '/ofrep/v1/evaluate/flags', { context: { targetingKey: 'ada' } }, token)
  return `${url}${body.eventStreams[0].endpoint.requestUri}`
}

/** Opens a stream of changes. If the stream is refused, `text` returns the body of the answer. */
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
    eventOf: (id, withinMs = 1000) =>
      new Promise((resolve, reject) => {
        const late = setTimeout(() => {
          heard.delete(check)
          reject(new Error(`The stream sent no event ${id} within ${withinMs} ms, but: ${received}`))
        }, withinMs)
        const check = () => {
          const found = events.find((event) => event.id === id)
          if (!found) return
          clearTimeout(late)
          heard.delete(check)
          resolve(found)
        }
        heard.add(check)
        check()
      }),
    ended,
    close: () => void request.destroy(),
  }
}
