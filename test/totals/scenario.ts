import fc from 'fast-check'

/** A random sequence of operations on a platform. The events between two actions may arrive in any order. */
export type Scenario = {
  /** A part of each user id: other ids are drawn to other variants. */
  seed: number
  operations: Operation[]
}
export type Operation = EventPlan | Repeat | Fold | Action

/** Experiments, variants and users are given by index, modulo the number of items. */
export type EventPlan = {
  kind: 'event'
  user: number
  /** null: the event names no experiment. */
  experiment: number | null
  variant: number | null
  type: (typeof TYPES)[number]
  /** The offset in ms from now, or from the moment of an earlier action; null: the platform's clock gives the time. */
  when: { moment: number | null; offset: number } | null
  value: number
  hasId: boolean
}
/** Sends an earlier event once more. @param back how many events lie between the two */
export type Repeat = { kind: 'repeat'; back: number }
/** Folds some unfolded events into the totals, or all. */
export type Fold = { kind: 'fold'; all: boolean }
/** A request that decides or changes something, `after` so many milliseconds. */
export type Action = { after: number } & (
  | { kind: 'check'; user: number; experiments: number[]; expose: boolean; attributes: number }
  | { kind: 'allocate'; experiment: number; shares: number }
  | { kind: 'enable'; experiment: number; variant: number; enabled: boolean }
  | { kind: 'start' | 'pause' | 'resume' | 'complete' | 'new run'; experiment: number }
  | { kind: 'join'; alias: number; user: number }
  | { kind: 'erase'; user: number }
  | { kind: 'force' | 'release'; experiment: number; user: number; variant: number }
  | { kind: 'exclude' | 'include'; experiment: number; user: number }
  | { kind: 'attach'; experiment: number; metric: number }
  | { kind: 'profile'; user: number; profile: number }
  | { kind: 'ask'; experiment: number; type: (typeof TYPES)[number] }
)

export const TYPES = ['conversion', 'purchase', 'view', '$exposure'] as const
/** The properties of events: usable values of every size, unusable values, and none. */
export const PROPERTIES: readonly (object | null)[] = [
  null,
  { other: 1 },
  { value: 1 },
  { value: 0 },
  { value: -3.25 },
  { value: 0.1 },
  { value: 123456789.12345679 },
  { value: 0.0000000005 },
  { value: -0.0000000005 },
  { value: 0.0000000004999 },
  { value: 1e-300 },
  { value: 1e12 },
  { value: -1e12 },
  { value: 999999999999.9999 },
  { value: 1000000000000.0001 },
  { value: 1e13 },
  { value: -1e300 },
  { value: '12' },
  { value: null },
  { value: true },
  { value: [1] },
  { value: { of: 1 } },
  { value: { of: 0.25 }, 'value.of': 7 },
  { value: { of: null } },
]
export const ATTRIBUTES: readonly object[] = [
  {},
  { country_code: 'US', plan: 'gold' },
  { country_code: 'DE', is_premium: true, level: 3 },
  { plan: 'x'.repeat(101), level: 2.5, is_premium: false },
  { plan: 'x'.repeat(100), level: ['no', 'scalar'], country_code: null },
  { plan: '', level: true, undeclared: 'never seen' },
  { is_bot: true, plan: 'gold' },
  { is_bot: false, is_internal: true },
]
/** Metrics of every kind that totals hold. The experiments begin with the first ones. */
export const METRICS: readonly object[] = [
  { type: 'sum', event_type: 'purchase', property: 'value', covariate_days: 1 },
  { type: 'proportion', event_type: 'purchase', filter: { value: { $gt: 0 } }, window_hours: 3, covariate_days: 1 },
  { type: 'quantile', event_type: 'purchase', property: 'value', quantile: 0.5, window_hours: 30 },
  {
    type: 'ratio',
    numerator: { event_type: 'purchase', property: 'value' },
    denominator: { event_type: 'view', filter: { other: 1 } },
    any_tag: true,
    covariate_days: 2,
  },
  { type: 'mean', event_type: 'view', property: 'value', filter: { value: { $ne: '12' } }, covariate_days: 0 },
  { type: 'count', event_type: 'view', window_hours: 30, covariate_days: 1, any_tag: true },
  { type: 'retention', event_type: 'view', day: 1 },
  {
    type: 'quantile',
    event_type: 'view',
    property: 'value',
    quantile: 0.6,
    filter: { value: { $ne: '12' } },
    any_tag: true,
  },
  { type: 'sum', event_type: 'view', property: 'value', cap: 0.7, covariate_days: 1 },
  { type: 'mean', event_type: 'purchase', property: 'value.of', covariate_days: 1 },
]
export const PROFILES: readonly object[] = [
  { is_premium: true, country_code: 'FR', attributes: { plan: 'silver' } },
  { is_premium: false, country_code: null, attributes: {} },
  { is_premium: false, country_code: 'US', attributes: { level: 7, plan: null } },
]
export const SHARES: readonly (readonly number[])[] = [
  [50, 50, 0],
  [10, 10, 80],
  [0, 60, 40],
  [34, 33, 33],
]

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

const index = (below: number) => fc.nat({ max: below - 1 })
const user = index(5)
const experiment = index(3)
const variant = index(3)
const anyOf = <T>(...items: T[]) => fc.constantFrom(...items)
const after = anyOf(0, 1, SECOND, MINUTE, 20 * MINUTE, 5 * HOUR, 20 * HOUR)

const event: fc.Arbitrary<EventPlan> = fc.record({
  kind: fc.constant('event' as const),
  user,
  experiment: fc.option(experiment, { freq: 4 }),
  variant: fc.option(variant, { freq: 2 }),
  type: anyOf(...TYPES),
  when: fc.option(
    fc.record({
      moment: fc.option(fc.nat({ max: 30 }), { freq: 2 }),
      offset: anyOf(0, 0, 1, -1, -SECOND, -MINUTE, -HOUR, -26 * HOUR, MINUTE, 4 * MINUTE),
    }),
    { freq: 5 },
  ),
  value: index(PROPERTIES.length),
  hasId: fc.boolean(),
})
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('check' as const),
      after,
      user,
      experiments: fc.uniqueArray(experiment, { minLength: 1 }),
      expose: fc.boolean(),
      attributes: index(ATTRIBUTES.length),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: anyOf('allocate' as const), after, experiment, shares: index(SHARES.length) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: anyOf('enable' as const), after, experiment, variant, enabled: fc.boolean() }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: anyOf('start' as const, 'pause' as const, 'resume' as const, 'complete' as const, 'new run' as const),
      after,
      experiment,
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: anyOf('join' as const), after, alias: user, user }) },
  { weight: 1, arbitrary: fc.record({ kind: anyOf('erase' as const), after, user }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: anyOf('force' as const, 'release' as const), after, experiment, user, variant }),
  },
  { weight: 2, arbitrary: fc.record({ kind: anyOf('exclude' as const, 'include' as const), after, experiment, user }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: anyOf('attach' as const), after, experiment, metric: index(METRICS.length) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: anyOf('profile' as const), after, user, profile: index(PROFILES.length) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: anyOf('ask' as const), after, experiment, type: anyOf(...TYPES) }) },
)

/** Generates scenarios of `length` / 2 to `length` operations, of which three quarters are events or folds. */
export const scenarios = (length: number): fc.Arbitrary<Scenario> =>
  fc.record({
    seed: fc.noShrink(fc.nat()),
    operations: fc.array(
      fc.oneof(
        { weight: 64, arbitrary: event },
        { weight: 6, arbitrary: fc.record({ kind: fc.constant('repeat' as const), back: fc.nat({ max: 20 }) }) },
        { weight: 6, arbitrary: fc.record({ kind: fc.constant('fold' as const), all: fc.boolean() }) },
        { weight: 24, arbitrary: action },
      ),
      { minLength: length / 2, maxLength: length },
    ),
  })
