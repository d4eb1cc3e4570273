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
// Browsers have one; the provider takes the global one.
Object.assign(globalThis, { EventSource: CountedEventSource })

/** How long to wait for what must happen: far more than it takes, for a slow machine. */
const PATIENCE_MS = 20_000

export type Change = { at: number; flags: string[] }
export type WebClient = {
  client: Client
  /** Why it did not become ready; null where it did. */
  fault: unknown
  /** Every bulk evaluation so far. */
  calls: { status: number; url: string; ifNoneMatch: string | null; etag: string | null }[]
  /** What it was told had changed, by the time of this machine. */
  changes: Change[]
  /** What went wrong since. */
  faults: ProviderEvents[]
  /** The context of this client alone; waits until the provider has seen to it. */
  setContext: (context: EvaluationContext) => Promise<void>
  /** Waits until it shows something. @throws Error where it does not for long */
  until: (what: string, shows: (client: Client) => boolean) => Promise<number>
}

/** A page of its own, in a domain of its own; a page that begins well has its stream open. @param headers with its API key */
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
    await until('its stream is open', () => streamsOpened > openedBefore)
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

/** @returns when it held */
async function until(what: string, holds: () => boolean): Promise<number> {
  const begin = Date.now()
  for (;;) {
    if (holds()) return Date.now()
    if (Date.now() - begin > PATIENCE_MS) throw new Error(`After ${PATIENCE_MS} ms not yet: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Closes every page of this file's. */
export async function closePages() {
  await OpenFeature.clearProviders()
  await OpenFeature.clearContexts()
}
