import type { BaseHook, CommonProvider, FlagValue, ServerProviderStatus } from '@openfeature/core'
import type { Reporter } from './openfeature-reporter.ts'

export type { ReporterFetch } from './openfeature-delivery.ts'
export type { ReportedEvent, Shown } from './openfeature-entry.ts'
export { createReporter, type LostEvent, type Reporter, type ReporterOptions } from './openfeature-reporter.ts'

/** A hook of server and web SDKs alike. */
export type ExposureHook = BaseHook<FlagValue, Record<string, unknown>, void, void>

/**
 * An OpenFeature hook that records what users were really shown: web clients evaluate all flags at once, which exposes
 * nobody. Of each flag that an experiment decided, the first evaluation by the application reports the user's exposure,
 * once per user and run of the experiment. What the platform recorded itself (most evaluations of a single flag) is not
 * reported again, and neither is an evaluation without a targetingKey, or of flags that are still another user's.
 *
 * @example
 * const reporter = createReporter({ url: 'https://experiments.example.com', apiKey: 'exp_…' })
 * OpenFeature.addHooks(exposureHook(reporter))
 */
export function exposureHook(reporter: Pick<Reporter, 'expose'>): ExposureHook {
  return {
    after({ context }, { flagMetadata }) {
      const { experiment_id, variant_id, run_id, exposure, targeting_key } = flagMetadata ?? {}
      const user_id = context?.targetingKey
      if (exposure !== 'report' || typeof experiment_id !== 'number' || !user_id) return
      // While the web SDK changes its context, that is new already and the flags are the former user's.
      if (targeting_key !== undefined && targeting_key !== user_id) return
      reporter.expose({ user_id, experiment_id, variant_id: numberOrNone(variant_id), run_id: numberOrNone(run_id) })
    },
  }
}

/** Of any provider, server or web: `track` is what the SDKs call for `client.track(…)`. */
type Trackable = Pick<CommonProvider<ServerProviderStatus>, 'metadata' | 'track'>

/**
 * Gives a provider OpenFeature's tracking call, which OFREP providers have not: `client.track('purchase', { value: 99.99 })`
 * records an event of that type for the context's targetingKey, the details as its properties. Without a targetingKey it
 * is lost, and the reporter's `onError` told. A tracking call that the provider has already is made as well.
 *
 * @returns the same provider
 * @example
 * const provider = withTracking(new OFREPWebProvider({ baseUrl }), reporter)
 * await OpenFeature.setProviderAndWait(provider)
 * OpenFeature.getClient().track('purchase', { value: 99.99 })
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
