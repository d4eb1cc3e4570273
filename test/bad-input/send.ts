import { Agent, request } from 'node:http'
import { connect } from 'node:net'
import type { BadRequest } from './request.ts'

export type Reply = { status: number; body: string; type: string }

/** Creates a sender that sends requests unchanged, over keep-alive connections. */
export function createSender(url: string, connections = 16) {
  const { hostname, port } = new URL(url)
  const agent = new Agent({ keepAlive: true, maxSockets: connections })

  function send({ method, path, headers, body }: Omit<BadRequest, 'kind' | 'answer' | 'route'>): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const length: Record<string, string> =
        body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }
      let answered = false
      const outgoing = request({ hostname, port, agent, method, path, headers: { ...headers, ...length } })
      outgoing.on('response', (incoming) => {
        answered = true
        const chunks: Buffer[] = []
        incoming.on('data', (chunk) => chunks.push(chunk))
        incoming.on('error', reject)
        incoming.on('end', () =>
          resolve({
            status: incoming.statusCode ?? 0,
            body: Buffer.concat(chunks).toString('utf8'),
            type: incoming.headers['content-type'] ?? '',
          }),
        )
      })
      // A server that refuses a large body may close the connection before all of the body is sent.
      outgoing.on('error', (error) => {
        if (!answered) reject(error)
      })
      outgoing.end(body)
    })
  }

  /** Sends all requests, with up to `connections` at a time. @param onReply called once for each request */
  async function sendAll<R extends Parameters<typeof send>[0]>(
    requests: Iterable<R>,
    onReply: (sent: R, reply: Reply) => void,
  ) {
    const queue = requests[Symbol.iterator]()
    const worker = async () => {
      for (let next = queue.next(); !next.done; next = queue.next()) onReply(next.value, await send(next.value))
    }
    await Promise.all(Array.from({ length: connections }, worker))
  }

  /** Sends bytes on a connection of their own. @returns everything received until the connection closed */
  function sendBytes(bytes: string, waitMs = 300): Promise<string> {
    return new Promise((resolve) => {
      const socket = connect({ host: hostname, port: Number(port) })
      let received = ''
      socket.on('data', (chunk) => {
        received += chunk
      })
      socket.on('error', () => {})
      socket.on('close', () => resolve(received))
      socket.end(bytes)
      setTimeout(() => socket.destroy(), waitMs).unref()
    })
  }

  return { send, sendAll, sendBytes, close: () => agent.destroy() }
}
