import type { MikroORM } from '@mikro-orm/sql'
import type { KeyRing } from '../auth/key-ring.ts'
import { isDatabaseUnavailable, isTransient } from '../database/errors.ts'
import type { Poller } from '../database/poller.ts'
import { readMark } from '../totals/progress.ts'
import type { GetResults, Results } from './schema.ts'
import { getResults, type Reporting } from './service.ts'

/** What a subscription touches that looks for changes again and again. */
export type Following = { readonly orm: MikroORM; readonly keyRing: KeyRing; readonly poller: Poller }

/** Often enough to watch, seldom enough that many may. */
const PAUSE_MS = 5000

/**
 * Results now, and again whenever what was counted has changed them, at most every five seconds.
 * @param token whose key must stay active
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
      // A database that is unavailable is looked at again; before the first answer the reader gets the error.
      if (sent === null || !(isDatabaseUnavailable(error) || isTransient(error))) throw error
    }
  }
}

/** Leaves out the price of reading, which is another figure every time. */
const withoutCosts = (results: Results) => ({
  ...results,
  metrics: results.metrics.map((metric) => ({ ...metric, cost: null })),
})
