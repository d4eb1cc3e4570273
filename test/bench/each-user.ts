import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

const PATH = '/api/experiments/check-eligibility'
/**
 * A prime. Its multiples, modulo the number of users, visit every user once in an order without a pattern. The number
 * of users must not be a multiple of it.
 */
const STRIDE = 611_953

export type Visits = { token: string; experimentIds: number[]; users: number; connections: number }

/**
 * Checks the users at positions `from` to `to` of a fixed random order of `user_1` to `user_<users>`, once each, over
 * keep-alive connections.
 * @returns the time in seconds
 * @throws Error if an answer has no variant
 */
export async function visitEach(url: string, visits: Visits, from: number, to: number): Promise<number> {
  const { port, hostname, host } = new URL(url)
  const { users, experimentIds: experiment_ids, connections } = visits
  if (users % STRIDE === 0) throw new Error(`The number of users must not be a multiple of ${STRIDE}`)
  const head = `POST ${PATH} HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${visits.token}\r\ncontent-type: application/json\r\n`
  let next = from
  const takeRequest = () => {
    if (next >= to) return null
    const user_id = `user_${((next++ * STRIDE) % users) + 1}`
    const body = JSON.stringify({ user_id, experiment_ids })
    return `${head}content-length: ${body.length}\r\n\r\n${body}`
  }
  const started = performance.now()
  await Promise.all(
    Array.from({ length: Math.min(connections, to - from) }, async () => {
      const socket = connect(Number(port), hostname)
      await once(socket, 'connect')
      await converse(socket, takeRequest)
      socket.destroy()
    }),
  )
  return (performance.now() - started) / 1000
}

/** Sends one request after the other, and resolves after the last. */
function converse(socket: Socket, takeRequest: () => string | null): Promise<void> {
  return new Promise((resolve, reject) => {
    let received = ''
    const send = () => {
      const request = takeRequest()
      if (request === null) resolve()
      else socket.write(request)
    }
    socket.setNoDelay()
    socket.setEncoding('latin1')
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('The server closed the connection')))
    socket.on('data', (text: string) => {
      received += text
      const headEnd = received.indexOf('\r\n\r\n')
      if (headEnd < 0) return
      const length = Number(/content-length: (\d+)/i.exec(received)?.[1])
      if (received.length < headEnd + 4 + length) return
      if (!received.startsWith('HTTP/1.1 200 ') || !received.includes('"variant_id":')) {
        reject(new Error(`The server answers:\n${received}`))
        return
      }
      received = ''
      send()
    })
    send()
  })
}
