import { EventEmitter } from 'node:events'
import unleashClient from 'unleash-client/lib/client.js'
import type { FeatureInterface } from 'unleash-client/lib/feature.js'
import { defaultStrategies } from 'unleash-client/lib/strategy/index.js'
import { Operator } from 'unleash-client/lib/strategy/strategy.js'
import { type BenchUser, type Decide, LISTED_COUNTRIES } from './question.ts'

const constraint = { inverted: false, caseInsensitive: false }
const FEATURE: FeatureInterface = {
  name: 'experiment',
  type: 'experiment',
  enabled: true,
  stale: false,
  impressionData: false,
  strategies: [
    {
      name: 'flexibleRollout',
      parameters: { rollout: '100', stickiness: 'userId', groupId: 'experiment' },
      segments: [],
      constraints: [
        { ...constraint, contextName: 'country_code', operator: Operator.IN, values: LISTED_COUNTRIES },
        { ...constraint, contextName: 'is_premium', operator: Operator.IN, values: ['true'] },
      ],
      variants: [
        { name: 'control', weight: 500, stickiness: 'userId' },
        { name: 'treatment', weight: 500, stickiness: 'userId' },
      ],
    },
  ],
} as never

/** Decides by Unleash's evaluation alone, over a repository in memory, without polling and metrics. */
export function decideByUnleash(users: readonly BenchUser[]): Decide {
  const repository = Object.assign(new EventEmitter(), {
    getToggle: () => FEATURE,
    getToggles: () => [FEATURE],
    getTogglesWithSegmentData: () => [],
    getSegment: () => undefined,
    stop: () => {},
    start: async () => {},
  })
  const client = new unleashClient.default(repository, defaultStrategies)
  const contexts = users.map(({ id, country_code, is_premium }) => ({
    userId: id,
    properties: { country_code, is_premium: String(is_premium) },
  }))
  return (user) => {
    const variant = client.getVariant('experiment', contexts[user] as (typeof contexts)[number])
    return variant.enabled ? variant.name : null
  }
}
