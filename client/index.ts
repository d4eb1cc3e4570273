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
import { outcomeLink } from './outcome-link.ts'

/** Calls that one request may carry; the server refuses more. */
const MAX_BATCH_SIZE = 100
/** Longer URLs are refused by some proxies. */
const MAX_URL_LENGTH = 8000
/** Inputs from this length on, in characters of JSON as a URL writes them, travel alone and in a body. */
const LARGE_INPUT_LENGTH = 2000

export type { AppRouter }

/** The platform's procedures by domain: `client.experiments.list.query({})`, `client.events.record.mutate(event)`. */
export type PlatformClient = TRPCClient<AppRouter>

/** What each procedure takes: `Inputs['events']['record']`. Times are ISO 8601 strings. */
export type Inputs = inferRouterInputs<AppRouter>

/** What each procedure answers, as it arrives: `Outputs['results']['get']`. Times are ISO 8601 strings in UTC. */
export type Outputs = inferRouterOutputs<AppRouter>

/**
 * What every failed call throws. `data` says why, as the platform does: `data.code` such as `NOT_FOUND`,
 * `data.httpStatus`, and `data.issues` where the input is to blame. `data` is missing where the platform did not
 * answer: no connection, or the call was aborted; `cause` tells which.
 */
export type PlatformError = TRPCClientError<AppRouter>

/** One thing wrong with an input: the path to the field and what is expected of it. */
export type Issue = NonNullable<NonNullable<PlatformError['data']>['issues']>[number]

/** Tells whether a caught value is what a failed call throws, so that `data.code` and `data.issues` can be read. */
export const isPlatformError = (error: unknown): error is PlatformError => error instanceof TRPCClientError

type HeaderFields = Record<string, string>

export type ClientOptions = {
  /** Where the platform is, such as `http://127.0.0.1:8000`; a path is kept. */
  url: string
  /** An API key. undefined only where none is needed: the management of keys while that is open. */
  apiKey: string | undefined
  /** Used instead of the global fetch. */
  fetch?: TRPCFetch
  /**
   * What subscriptions are read with, such as the class of that name of the package `eventsource` (3 or later), which can send
   * an API key: the browsers' own cannot. Needed for `client.events.tail.subscribe` only.
   */
  EventSource?: EventSourceLike
  /** Sent with every request; a function is asked for them each time. */
  headers?: HeaderFields | (() => HeaderFields | Promise<HeaderFields>)
}

/**
 * Opens a typed client. It holds no connection: there is nothing to close.
 *
 * Calls of one tick share an HTTP request, up to 100 of them, queries apart from mutations. A call with a large input
 * travels alone. Each call takes `{ signal }` as its second argument and fails as soon as that is aborted.
 *
 * @example
 * const client = createClient({ url: 'http://127.0.0.1:8000', apiKey: process.env.PLATFORM_KEY })
 * const { eligible_experiment_ids } = await client.assignments.checkEligibility.mutate({
 *   user_id: 'user_12345',
 *   experiment_ids: [1],
 * })
 */
export function createClient({ url, apiKey, fetch, headers, EventSource }: ClientOptions): PlatformClient {
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

const hasLargeInput = ({ input }: Operation) =>
  input !== undefined && encodeURIComponent(JSON.stringify(input)).length >= LARGE_INPUT_LENGTH

type FetchLike = (url: string | URL, init?: RequestInit) => Promise<Response>
/** A class like EventSource that can be told how to fetch. */
// biome-ignore lint/suspicious/noExplicitAny: classes of packages and of browsers differ in what their parts are called
export type EventSourceLike = new (url: string, init?: any) => any

/** Reconnects by itself, after the last event that arrived. */
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

/** Node has none of its own. */
class NoEventSource {
  constructor() {
    throw new Error(
      "Subscriptions need an EventSource: createClient({ …, EventSource }) with that of the package 'eventsource'",
    )
  }
}
