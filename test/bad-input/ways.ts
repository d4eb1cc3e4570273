import { setTimeout as sleep } from 'node:timers/promises'
import type { TestApp } from '../support/app.ts'
import { allProcedures } from './places.ts'
import { type Input, requestOf } from './request.ts'
import { allRoutes } from './routes.ts'
import type { TestData } from './test-data.ts'

/** Calls every procedure by every way: its routes, and tRPC. */

export type Request = { method: string; path: string; headers: Record<string, string>; body?: string | Buffer }
/** A way to call a procedure: the input goes into one object. */
export type Way = { name: string; procedure: string; source: 'body' | 'query'; request: (input: Input) => Request }

/** Lists the routes of all procedures. */
export const restWays = (data: TestData): Way[] =>
  allRoutes().map((route) => ({
    name: `${route.method} ${route.template}`,
    procedure: route.procedure,
    source: route.source,
    request: (input) => requestOf(route, data.token, input),
  }))

/** Lists all procedures, subscriptions included, as calls by tRPC. */
export const trpcWays = (data: TestData): Way[] =>
  allProcedures().map(({ name, type }) => ({
    name: `/trpc/${name}`,
    procedure: name,
    source: 'body',
    request: (input): Request => {
      const authorization = `Bearer ${data.token}`
      const body = JSON.stringify(input)
      if (type === 'mutation')
        return {
          method: 'POST',
          path: `/trpc/${name}`,
          headers: { authorization, 'content-type': 'application/json' },
          body,
        }
      const accept = type === 'subscription' ? 'text/event-stream' : 'application/json'
      return {
        method: 'GET',
        path: `/trpc/${name}?input=${encodeURIComponent(body)}`,
        headers: { authorization, accept },
      }
    },
  }))

/** Sends a request. A subscription is answered as a call with its first error, or by 200. */
export async function send(app: TestApp, { method, path, headers, body }: Request, more: Record<string, string> = {}) {
  const response = await fetch(`${app.url}${path}`, {
    method,
    headers: { ...headers, ...more },
    ...(body === undefined ? {} : { body: body as string }),
    signal: AbortSignal.timeout(20_000),
  })
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream')
  const answer = isStream ? await firstOf(response) : { status: response.status, text: await response.text() }
  return { ...answer, headers: response.headers }
}

const SILENT_MS = 500

/** Reads the error that a subscription begins with, as a call would answer it; 200 for a subscription that goes on. */
async function firstOf({ body }: Response): Promise<{ status: number; text: string }> {
  const reader = (body as ReadableStream<Uint8Array>).getReader()
  const silence = sleep(SILENT_MS, { done: true, value: undefined } as const)
  let text = ''
  for (let error: string | undefined; ; error = /event: serialized-error\ndata: (.*)\n/.exec(text)?.[1]) {
    if (error !== undefined) return { status: JSON.parse(error).data.httpStatus, text: `{"error":${error}}` }
    const { done, value } = await Promise.race([reader.read(), silence])
    if (done) break
    text += Buffer.from(value as Uint8Array).toString('utf8')
  }
  await reader.cancel()
  return { status: 200, text: '{}' }
}
