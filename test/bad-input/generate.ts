import { baseOf } from './base.ts'
import { meaningFaults } from './meaning-faults.ts'
import { type BadRequest, createRandom, requestOf } from './request.ts'
import { batchFaults, bodyFaults, fieldFaults, tokenFaults, urlFaults } from './route-faults.ts'
import { allRoutes, type Route } from './routes.ts'
import type { createSender } from './send.ts'
import type { TestData } from './test-data.ts'

/** Lists the scopes that a route does not admit. */
export type Lacking = (route: Route) => readonly string[]

/** Makes bad requests in rounds: each has every route, field and kind of fault once, with other values than before. */
export function* badRequests(
  data: TestData,
  lacking: Lacking,
  { rounds, seed }: { rounds: number; seed: number },
): Generator<BadRequest> {
  const random = createRandom(seed)
  const routes = allRoutes()
  const methods = unservedMethods(routes)
  const find = (name: string) => routes.find((route) => route.name === name) as Route
  for (let round = 1; round <= rounds; round++) {
    for (const route of routes) {
      for (const faults of [fieldFaults, bodyFaults, urlFaults]) yield* faults(route, data, random, round === 1)
      yield* tokenFaults(route, data, random, lacking)
    }
    yield* batchFaults(find('events.recordBatch'), find('events.record'), data, random)
    yield* meaningFaults(data, random)
    for (const { route, method } of methods) {
      const { body: _, ...request } = requestOf(route, data.token, baseOf(route, data, random, 'least'))
      yield { kind: 'a method that is not served', ...request, method, answer: { status: 405 } }
    }
  }
}

/** Lists methods that no route serves at a path of another method. */
function unservedMethods(routes: Route[]) {
  const serves = (path: string, method: string) =>
    routes.some(
      (route) => route.method === method && new RegExp(`^${route.template.replace(/\{\w+\}/g, '[^/]+')}$`).test(path),
    )
  const all = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND']
  return routes.flatMap((route) =>
    all.filter((method) => !serves(route.template, method)).map((method) => ({ route, method })),
  )
}

/**
 * Finds the scopes that each route admits, by requests with a key of each scope. Requests to routes that write are
 * invalid, so that they change nothing.
 */
export async function findLacking(data: TestData, send: ReturnType<typeof createSender>['send']): Promise<Lacking> {
  const lacking = new Map<string, string[]>()
  for (const route of allRoutes().filter(({ keyed }) => keyed)) {
    const base = baseOf(route, data, createRandom(1), 'least')
    const nothing = Object.fromEntries(route.pathFields.map((field) => [field, 0]))
    const closed: string[] = []
    for (const [scope, token] of Object.entries(data.scopes)) {
      const { status } = await send(requestOf(route, token, route.source === 'body' ? nothing : base))
      if (status === 403) closed.push(scope)
    }
    lacking.set(route.name, closed)
  }
  return (route) => lacking.get(route.name) ?? []
}
