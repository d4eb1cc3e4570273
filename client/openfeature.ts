import type { BaseHook, CommonProvider, FlagValue, ServerProviderStatus } from '@openfeature/core'
import type { Reporter } from './openfeature-reporter.ts'

export type { ReporterFetch } from './openfeature-delivery.ts'
export type { ReportedEvent, Shown } from './openfeature-entry.ts'
export { createReporter, type LostEvent, type Reporter, type ReporterOptions } from './openfeature-reporter.ts'

/** A hook for both server and web SDKs. */
export type ExposureHook = BaseHook<FlagValue, Record<string, unknown>, void, void>

/**
 * Creates an OpenFeature hook that records which variants users were really shown. Web clients need it because they
 * evaluate all flags at once, which exposes nobody. When the application evaluates a flag that an experiment decided,
 * the hook reports the user's exposure, once per user and run of the experiment.
 *
 * The hook does not report exposures that the platform recorded itself (most evaluations of a single flag), evaluations
 * without a targetingKey, or evaluations of flags that still belong to another user.
 *
 * @example const reporter = createReporter({ url: 'https://experiments.example.com', apiKey: 'exp_…' })
 * OpenFeature.addHooks(exposureHook(reporter))
 */
export function exposureHook(reporter: Pick<Reporter, 'expose'>): ExposureHook {
  return {
    after({ context }, { flagMetadata }) {
      const { experiment_id, variant_id, run_id, exposure, targeting_key } = flagMetadata ?? {}
      const user_id = context?.targetingKey
      if (exposure !== 'report' || typeof experiment_id !== 'number' || !user_id) return
      // While the web SDK changes its context, the context is the new user's and the flags are still the former user's.
      if (targeting_key !== undefined && targeting_key !== user_id) return
      reporter.expose({ user_id, experiment_id, variant_id: numberOrNone(variant_id), run_id: numberOrNone(run_id) })
    },
  }
}

/** The parts of a server or web provider that tracking needs. The SDKs call `track` for `client.track(…)`. */
type Trackable = Pick<CommonProvider<ServerProviderStatus>, 'metadata' | 'track'>

/**
 * Adds OpenFeature's tracking call to a provider, because OFREP providers have none. A call such as
 * `client.track('purchase', { value: 99.99 })` then records an event of the type `purchase` for the context's
 * targetingKey, with the details as its properties. Without a targetingKey the event is lost, and the reporter's
 * `onError` is called. A `track` that the provider had before is called as well.
 *
 * @returns the same provider
 * @example const provider = withTracking(new OFREPWebProvider({ baseUrl }), reporter) await
 * OpenFeature.setProviderAndWait(provider) OpenFeature.getClient().track('purchase', { value: 99.99 })
 */
export function withTracking<Provider extends Trackable>(
  provider: Provider,
  reporter: Pick<Reporter, 'record'>,
): Provider {
  const before = provider.track
  provider.track = (type, context, details) => {
    const hasDetails = Object.keys(details ?? {}).length > 0
    const user_id = context?.targetingKey ?? ''
    reporter.record({ user_id, type, ...(hasDetails ? { properties: { ...details } } : {}) })
    before?.call(provider, type, context, details)
  }
  return provider
}

const numberOrNone = (value: unknown) => (typeof value === 'number' ? value : undefined)
