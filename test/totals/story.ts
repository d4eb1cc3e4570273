import fc from 'fast-check'

/** What happens to a platform: a sequence of operations, the events between two others of which may come in any order. */
export type Story = {
  /** What user ids are made of: other ids, other draws. */
  seed: number
  operations: Operation[]
}
export type Operation = EventPlan | Repeat | Fold | Act

/** Experiments, variants and users by their place; places beyond the last count from the first again. */
export type EventPlan = {
  kind: 'event'
  user: number
  /** null: the event names none. */
  experiment: number | null
  variant: number | null
  type: (typeof TYPES)[number]
  /** From now, or from the moment of an act before it; null: the platform's clock says when. */
  when: { moment: number | null; offset: number } | null
  value: number
  hasId: boolean
}
/** The very same event once more: one of those before it, counted back. */
export type Repeat = { kind: 'repeat'; back: number }
/** Some of what waits is folded into the totals, or all of it. */
export type Fold = { kind: 'fold'; all: boolean }
/** What decides or changes something, after some milliseconds. */
export type Act = { after: number } & (
  | { kind: 'check'; user: number; experiments: number[]; expose: boolean; attributes: number }
  | { kind: 'allocate'; experiment: number; shares: number }
  | { kind: 'enable'; experiment: number; variant: number; enabled: boolean }
  | { kind: 'start' | 'pause' | 'resume' | 'complete' | 'run anew'; experiment: number }
  | { kind: 'join'; alias: number; user: number }
  | { kind: 'erase'; user: number }
  | { kind: 'force' | 'release'; experiment: number; user: number; variant: number }
  | { kind: 'exclude' | 'include'; experiment: number; user: number }
  | { kind: 'attach'; experiment: number; metric: number }
  | { kind: 'profile'; user: number; profile: number }
  | { kind: 'ask'; experiment: number; type: (typeof TYPES)[number] }
)

export const TYPES = ['conversion', 'purchase', 'view', '$exposure'] as const
/** What an event's properties are: usable values of every size, unusable ones, and none. */
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
/** Metrics of every kind that totals hold; the first of them the experiments begin with. */
export const METRICS: readonly object[] = [
  { type: 'sum', event_type: 'purchase', property: 'value', covariate_days: 1 },
  { type: 'proportion', event_type: 'purchase', filter: { value: { $gt: 0 } }, window_hours: 3, covariate_days: 1 },
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

const place = (below: number) => fc.nat({ max: below - 1 })
const user = place(5)
const experiment = place(3)
const variant = place(3)
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
  value: place(PROPERTIES.length),
  hasId: fc.boolean(),
})
const act: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('check' as const),
      after,
      user,
      experiments: fc.uniqueArray(experiment, { minLength: 1 }),
      expose: fc.boolean(),
      attributes: place(ATTRIBUTES.length),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: anyOf('allocate' as const), after, experiment, shares: place(SHARES.length) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: anyOf('enable' as const), after, experiment, variant, enabled: fc.boolean() }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: anyOf('start' as const, 'pause' as const, 'resume' as const, 'complete' as const, 'run anew' as const),
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
    arbitrary: fc.record({ kind: anyOf('attach' as const), after, experiment, metric: place(METRICS.length) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: anyOf('profile' as const), after, user, profile: place(PROFILES.length) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: anyOf('ask' as const), after, experiment, type: anyOf(...TYPES) }) },
)

/** Stories of so many operations, three quarters of them events. */
export const stories = (length: number): fc.Arbitrary<Story> =>
  fc.record({
    seed: fc.noShrink(fc.nat()),
    operations: fc.array(
      fc.oneof(
        { weight: 64, arbitrary: event },
        { weight: 6, arbitrary: fc.record({ kind: fc.constant('repeat' as const), back: fc.nat({ max: 20 }) }) },
        { weight: 6, arbitrary: fc.record({ kind: fc.constant('fold' as const), all: fc.boolean() }) },
        { weight: 24, arbitrary: act },
      ),
      { minLength: length / 2, maxLength: length },
    ),
  })
