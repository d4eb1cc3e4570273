import {
  createTRPCClient,
  httpBatchLink,
  httpLink,
  httpSubscriptionLink,
  type Operation,
  splitLink,
  type TRPCClient,
  TRPCClientError,
  type TRPCFetch,
  type TRPCLink,
} from '@trpc/client'
import type { inferRouterInputs, inferRouterOutputs } from '@trpc/server'
import type { AppRouter } from '../server/router.ts'
import { finiteLink } from './finite-link.ts'
import { outcomeLink } from './outcome-link.ts'

/** The number of calls in one request; the server refuses more. */
const MAX_BATCH_SIZE = 100
/** In characters; some proxies refuse longer URLs. */
const MAX_URL_LENGTH = 8000
/** In characters of URL-encoded JSON. A call with an input of this length or more gets its own request, with a body. */
const LARGE_INPUT_LENGTH = 2000

export type { AppRouter }

/** The platform's procedures by domain: `client.experiments.list.query({})`, `client.events.record.mutate(event)`. */
export type PlatformClient = TRPCClient<AppRouter>

/** The inputs of the procedures: `Inputs['events']['record']`. Times are ISO 8601 strings. */
export type Inputs = inferRouterInputs<AppRouter>

/** The answers of the procedures, as they arrive: `Outputs['results']['get']`. Times are ISO 8601 strings in UTC. */
export type Outputs = inferRouterOutputs<AppRouter>

/**
 * The error of every failed call. `data` is the platform's reason: `data.code` such as `NOT_FOUND`, `data.httpStatus`,
 * and `data.issues` if the input is invalid. `data` is missing if the platform did not answer, because there was no
 * connection or because the call was aborted; `cause` then says which.
 */
export type PlatformError = TRPCClientError<AppRouter>

/** One fault of an input: the path of the field and what the platform expects there. */
export type Issue = NonNullable<NonNullable<PlatformError['data']>['issues']>[number]

/** Recognises the error of a failed call among caught values, so that `data.code` and `data.issues` can be read. */
export const isPlatformError = (error: unknown): error is PlatformError => error instanceof TRPCClientError

type HeaderFields = Record<string, string>

export type ClientOptions = {
  /** The platform's address, such as `http://127.0.0.1:8000`. It may include a path. */
  url: string
  /** An API key. undefined is right only for the management of keys, while this is open to everybody. */
  apiKey: string | undefined
  /** Replaces the global fetch. */
  fetch?: TRPCFetch
  /**
   * The class that reads subscriptions, such as `EventSource` of the package `eventsource` (3 or later). It must be
   * able to send an API key; the browsers' own class cannot. Only `client.events.tail.subscribe` needs it.
   */
  EventSource?: EventSourceLike
  /** Headers for every request. A function is called for each request. */
  headers?: HeaderFields | (() => HeaderFields | Promise<HeaderFields>)
}

/**
 * Creates a typed client. The client holds no connection, so it needs no closing.
 *
 * Up to 100 calls of one tick share an HTTP request; queries and mutations have separate requests. A call with a large
 * input has its own request. Each call takes `{ signal }` as its second argument and fails as soon as the signal is
 * aborted.
 *
 * @throws TypeError for a `url` without http:// or https://
 * @example
 * const client = createClient({ url: 'http://127.0.0.1:8000', apiKey: process.env.PLATFORM_KEY })
 * const { eligible_experiment_ids } = await client.assignments.checkEligibility.mutate({
 *   user_id: 'user_12345',
 *   experiment_ids: [1],
 * })
 */
export function createClient({ url, apiKey, fetch, headers, EventSource }: ClientOptions): PlatformClient {
  expectAddress(url)
  const options = {
    url: `${url.replace(/\/+$/, '')}/trpc`,
    fetch,
    headers: async () => ({
      ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
      ...(typeof headers === 'function' ? await headers() : headers),
    }),
  }
  return createTRPCClient<AppRouter>({
    links: [
      outcomeLink,
      finiteLink,
      splitLink({
        condition: ({ type }) => type === 'subscription',
        true: subscriptionLink(options, EventSource),
        false: splitLink({
          condition: hasLargeInput,
          true: httpLink({ ...options, methodOverride: 'POST' }),
          false: httpBatchLink({ ...options, maxItems: MAX_BATCH_SIZE, maxURLLength: MAX_URL_LENGTH }),
        }),
      }),
    ],
  })
}

/** @throws TypeError for an address without a scheme, by which every call would fail. A page may give a path of its own. */
function expectAddress(url: string) {
  if (/^(https?:\/\/|\/|$)/i.test(url)) return
  throw new TypeError(`url is ${url}, but must begin with http:// or https://, such as http://127.0.0.1:8000`)
}

const hasLargeInput = ({ input }: Operation) =>
  input !== undefined && encodeURIComponent(JSON.stringify(input)).length >= LARGE_INPUT_LENGTH

type FetchLike = (url: string | URL, init?: RequestInit) => Promise<Response>
/** A class like EventSource that accepts a `fetch` function. */
// biome-ignore lint/suspicious/noExplicitAny: the EventSource classes of packages and of browsers have different types
export type EventSourceLike = new (url: string, init?: any) => any

/**
 * Makes the link for subscriptions. A subscription reconnects by itself and continues after the last event received.
 */
function subscriptionLink(
  {
    url,
    headers,
    fetch = globalThis.fetch,
  }: { url: string; headers: () => Promise<HeaderFields>; fetch?: TRPCFetch | undefined },
  EventSource: EventSourceLike | undefined,
): TRPCLink<AppRouter> {
  const fetchWithKey: FetchLike = async (address, init) =>
    (fetch as FetchLike)(address, { ...init, headers: { ...(init?.headers as HeaderFields), ...(await headers()) } })
  return httpSubscriptionLink<AppRouter, never>({
    url,
    EventSource: EventSource ?? globalThis.EventSource ?? NoEventSource,
    eventSourceOptions: { fetch: fetchWithKey },
  } as never)
}

/** Stands in for the class that Node lacks, and says how to provide one. */
class NoEventSource {
  constructor() {
    throw new Error(
      "Subscriptions need the option EventSource: pass the class of the package 'eventsource' to createClient",
    )
  }
}
