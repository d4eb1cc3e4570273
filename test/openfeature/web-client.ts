import { randomUUID } from 'node:crypto'
import { OFREPWebProvider, type OFREPWebProviderOptions } from '@openfeature/ofrep-web-provider'
import {
  type Client,
  type EvaluationContext,
  type EventDetails,
  OpenFeature,
  ProviderEvents,
} from '@openfeature/web-sdk'
import { EventSource } from 'eventsource'

let streamsOpened = 0
class CountedEventSource extends EventSource {
  constructor(url: string | URL) {
    super(url)
    this.addEventListener('open', () => {
      streamsOpened++
    })
  }
}
// The provider uses the global EventSource, which browsers have and Node does not.
Object.assign(globalThis, { EventSource: CountedEventSource })

/** The time limit for something that must happen. It is long enough for a slow machine. */
const WAIT_LIMIT_MS = 20_000

export type Change = { at: number; flags: string[] }
export type WebClient = {
  client: Client
  /** The reason why the client did not become ready; null if it did. */
  fault: unknown
  /** Every bulk evaluation so far. */
  calls: { status: number; url: string; ifNoneMatch: string | null; etag: string | null }[]
  /** The changes that the client was notified of, with the time by this machine's clock. */
  changes: Change[]
  /** The provider's error and stale events since then. */
  faults: ProviderEvents[]
  /** Sets the context of this client alone, and waits until the provider has evaluated it. */
  setContext: (context: EvaluationContext) => Promise<void>
  /** Waits until the client shows something. @throws Error after WAIT_LIMIT_MS */
  until: (what: string, shows: (client: Client) => boolean) => Promise<number>
}

/**
 * Opens a page in an OpenFeature domain of its own. If the page becomes ready, waits until its stream is open too.
 * @param headers contain the API key
 */
export async function openPage(
  baseUrl: string,
  headers: [string, string][],
  context: EvaluationContext,
  options: Partial<OFREPWebProviderOptions> = {},
): Promise<WebClient> {
  const domain = randomUUID()
  const calls: WebClient['calls'] = []
  const provider = new OFREPWebProvider({
    baseUrl,
    headers,
    cacheMode: 'disabled',
    fetchImplementation: async (request: Request, init?: RequestInit) => {
      const response = await fetch(request, init)
      calls.push({
        status: response.status,
        url: request.url,
        ifNoneMatch: request.headers.get('if-none-match'),
        etag: response.headers.get('etag'),
      })
      return response
    },
    ...options,
  })
  const client = OpenFeature.getClient(domain)
  const changes: Change[] = []
  const faults: ProviderEvents[] = []
  client.addHandler(ProviderEvents.ConfigurationChanged, (details?: EventDetails) => {
    const { flagsChanged = [] } = details as { flagsChanged?: string[] }
    changes.push({ at: Date.now(), flags: flagsChanged })
  })
  for (const event of [ProviderEvents.Stale, ProviderEvents.Error])
    client.addHandler(event, () => {
      faults.push(event)
    })
  const openedBefore = streamsOpened
  const fault = await OpenFeature.setProviderAndWait(domain, provider, context).then(
    () => null,
    (error: unknown) => error,
  )
  if (fault === null && options.changeDetection !== 'none')
    await until("the page's stream is open", () => streamsOpened > openedBefore)
  return {
    client,
    fault,
    calls,
    changes,
    faults,
    setContext: (context) => OpenFeature.setContext(domain, context),
    until: (what, shows) => until(what, () => shows(client)),
  }
}

/** Waits until a condition holds. @returns the time at which it held, in milliseconds since 1970 */
async function until(what: string, holds: () => boolean): Promise<number> {
  const begin = Date.now()
  for (;;) {
    if (holds()) return Date.now()
    if (Date.now() - begin > WAIT_LIMIT_MS) throw new Error(`Still waiting after ${WAIT_LIMIT_MS} ms until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Closes every page that this test file opened. */
export async function closePages() {
  await OpenFeature.clearProviders()
  await OpenFeature.clearContexts()
}
