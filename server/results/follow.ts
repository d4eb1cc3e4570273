import type { MikroORM } from '@mikro-orm/sql'
import type { KeyRing } from '../auth/key-ring.ts'
import { isDatabaseUnavailable, isTransient } from '../database/errors.ts'
import type { Poller } from '../database/poller.ts'
import { readMark } from '../totals/progress.ts'
import type { GetResults } from './question-schema.ts'
import type { Results } from './schema.ts'
import { getResults, type Reporting } from './service.ts'

/** The parts of the platform that a subscription needs to poll for changes. */
export type Following = { readonly orm: MikroORM; readonly keyRing: KeyRing; readonly poller: Poller }

/** The pause between polls: short enough for a reader who watches, long enough to serve many subscriptions. */
const PAUSE_MS = 5000

/**
 * Yields the results now, and again whenever newly counted events have changed them, at most every five seconds.
 * @param token the caller's API token: its key must stay active
 */
export async function* followResults(
  reporting: Reporting,
  { orm, keyRing, poller }: Following,
  token: string | undefined,
  input: GetResults,
  signal: AbortSignal | undefined,
): AsyncGenerator<Results> {
  const isAllowed = async () => token !== undefined && (await keyRing.check(token)) !== null
  let mark: string | null = null
  let sent: string | null = null
  for await (const _ of poller.every(PAUSE_MS, isAllowed, signal)) {
    try {
      const now = await readMark(orm.em.fork())
      if (now === mark) continue
      const results = await getResults(orm.em.fork(), reporting, input)
      mark = now
      const text = JSON.stringify(withoutCosts(results))
      if (text === sent) continue
      sent = text
      yield results
    } catch (error) {
      // Polls again while the database is unavailable; before the first answer, the reader gets the error instead.
      if (sent === null || !(isDatabaseUnavailable(error) || isTransient(error))) throw error
    }
  }
}

/** Removes the costs of reading, which differ in every answer. */
const withoutCosts = (results: Results) => ({
  ...results,
  metrics: results.metrics.map((metric) => ({ ...metric, cost: null })),
})
