import { Agent, request } from 'node:http'
import type { Loose } from '../../support/api.ts'

/** The answer to a call; null if the connection broke or the answer was a 503. */
export type Reply = { status: number; body: Loose } | null
export type Call = (method: string, path: string, body?: object) => Promise<Reply>

const agent = new Agent({ keepAlive: true, maxSockets: 256 })
/** Much longer than anything stays frozen in these tests, so a request without an answer by then is a fault. */
const TIMEOUT_MS = 60_000

/** Makes a function that calls one process over keep-alive connections. It takes a third of the CPU time of `fetch`. */
export const caller =
  (url: string, token: string): Call =>
  (method, path, body) =>
    new Promise((resolve, reject) => {
      const content = body === undefined ? undefined : JSON.stringify(body)
      const sent = request(`${url}${path}`, { agent, method, timeout: TIMEOUT_MS })
      sent.setHeader('authorization', `Bearer ${token}`)
      if (content !== undefined) {
        sent.setHeader('content-type', 'application/json')
        sent.setHeader('content-length', Buffer.byteLength(content))
      }
      sent.on('error', () => resolve(null))
      sent.on('timeout', () => reject(new Error(`${method} ${path}: no answer within ${TIMEOUT_MS} ms`)))
      sent.on('response', (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (part) => {
          text += part
        })
        response.on('error', () => resolve(null))
        response.on('end', () => {
          const status = response.statusCode ?? 0
          resolve(status === 503 ? null : { status, body: text === '' ? undefined : JSON.parse(text) })
        })
      })
      sent.end(content)
    })

export const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))
