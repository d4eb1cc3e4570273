import { FlagdCore } from '@openfeature/flagd-core'
import { type BenchUser, type Decide, LISTED_COUNTRIES } from './question.ts'

const FLAGS = {
  flags: {
    experiment: {
      state: 'ENABLED',
      variants: { control: 'control', treatment: 'treatment', none: 'none' },
      defaultVariant: 'none',
      targeting: {
        if: [
          { and: [{ in: [{ var: 'country_code' }, LISTED_COUNTRIES] }, { '==': [{ var: 'is_premium' }, true] }] },
          {
            fractional: [
              { cat: [{ var: '$flagd.flagKey' }, { var: 'targetingKey' }] },
              ['control', 50],
              ['treatment', 50],
            ],
          },
          null,
        ],
      },
    },
  },
}

/** Decides by OpenFeature's flagd, evaluated in this process. */
export function decideByFlagd(users: readonly BenchUser[]): Decide {
  const core = new FlagdCore()
  core.setConfigurations(JSON.stringify(FLAGS))
  const contexts = users.map(({ id, ...attributes }) => ({ targetingKey: id, ...attributes }))
  return (user) => {
    const { value } = core.resolveStringEvaluation('experiment', 'none', contexts[user])
    return value === 'none' ? null : value
  }
}
