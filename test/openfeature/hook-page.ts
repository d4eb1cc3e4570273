import { OFREPWebProvider, type OFREPWebProviderOptions } from '@openfeature/ofrep-web-provider'
import { OpenFeature } from '@openfeature/web-sdk'
import { EventSource } from 'eventsource'
import { createReporter, exposureHook, type ReporterOptions, withTracking } from '../../client/openfeature.ts'
import type { TestApp } from '../support/app.ts'

// Browsers have EventSource; Node does not.
Object.assign(globalThis, { EventSource })

/**
 * Opens a page as a browser loads it: all flags are evaluated and nothing is shown yet.
 * @param options override those of the reporter
 * @param evaluating override the options of the provider
 */
export async function openPage(
  { url, api }: TestApp,
  userId: string,
  options: Partial<ReporterOptions> = {},
  evaluating: Partial<OFREPWebProviderOptions> = {},
) {
  await OpenFeature.clearProviders()
  OpenFeature.clearHooks()
  const reporter = createReporter({ url, apiKey: api.token, waitMs: 5, retryMs: 10, ...options })
  OpenFeature.addHooks(exposureHook(reporter))
  await OpenFeature.setContext({ targetingKey: userId })
  const provider = new OFREPWebProvider({
    baseUrl: url,
    headers: [['Authorization', `Bearer ${api.token}`]],
    cacheMode: 'disabled',
    ...evaluating,
  })
  await OpenFeature.setProviderAndWait(withTracking(provider, reporter))
  return { client: OpenFeature.getClient(), reporter }
}

/** Changes the user, as a login without a new page load does. */
export const changeUser = (targetingKey: string) => OpenFeature.setContext({ targetingKey })

export async function closePage() {
  await OpenFeature.clearProviders()
  OpenFeature.clearHooks()
  await OpenFeature.clearContext()
}

/** Reads a user's assignments with the time of their exposure, in order of experiment and run. */
export const assignmentsOf = (app: TestApp, userId: string) =>
  app.platform.orm.em
    .fork()
    .execute<{ experiment_id: number; run: number; variant_id: number; exposed_at: string | null; source: string }[]>(
      `select r.experiment_id, r.number as run, a.variant_id, a.exposed_at::text, a.exposure_source as source
       from assignments a join runs r on r.id = a.run_id where a.user_id = ? order by r.experiment_id, r.number`,
      [userId],
    )

/** Reads a user's events, in order of experiment and type. */
export const eventsOf = (app: TestApp, userId: string) =>
  app.platform.orm.em
    .fork()
    .execute<{ type: string; experiment_id: number | null; variant_id: number | null; properties: unknown }[]>(
      'select e.type, e.experiment_id, e.variant_id, e.properties from events e where e.user_id = ? order by e.experiment_id, e.type',
      [userId],
    )
