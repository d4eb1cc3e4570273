import type { MetricStatistics, RunStatistics, UnitCounts } from '../../server/analysis/statistics.ts'

/** Sufficient statistics made by hand. */

export const CONTROL = 1
export const TREATMENT = 2

export const units = (variant_id: number, given: Partial<UnitCounts> = {}): UnitCounts => {
  const users = given.users ?? 1000
  return {
    ...{ variant_id, period: 1, assigned: users, drawn: users, drawn_exposed: users, users },
    ...{ externally_decided: 0, crossovers: 0, overridden: 0, claimed_other: 0 },
    ...{ excluded_by_hand: 0, excluded_by_attribute: 0, excluded_by_rate: 0 },
    ...given,
  }
}

/** Of users of whom so many did it. */
export function proportion(
  key: string,
  converted: Record<number, number>,
  given: Partial<MetricStatistics> = {},
): MetricStatistics {
  return {
    key,
    name: key,
    version: 1,
    role: 'primary',
    kind: 'proportion',
    direction: 'increase',
    margin: { type: 'relative', size: 0.05 },
    has_covariate: false,
    cap: null,
    quantile: null,
    status: 'ready',
    source: 'totals',
    cost: null,
    caps: null,
    quantiles: [],
    sums: Object.entries(converted).map(([variant, users]) => ({
      variant_id: Number(variant),
      period: 1,
      users,
      exposing: 0,
      events: users,
      unusable: 0,
      sums: [users, 0, 0, 0],
      products: [users, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    })),
    ...given,
  }
}

export function run(
  given: Partial<Omit<RunStatistics, 'question'>> & { question?: Partial<RunStatistics['question']> } = {},
): RunStatistics {
  const { question, ...rest } = given
  return {
    engine_version: 'test',
    experiment: { id: 1, name: 'checkout' },
    run: 1,
    variants: [
      { variant_id: CONTROL, variant_name: 'control', is_control: true, enabled: true },
      { variant_id: TREATMENT, variant_name: 'treatment', is_control: false, enabled: true },
    ],
    periods: [{ period: 1, shares: { [CONTROL]: 50, [TREATMENT]: 50 } }],
    units: [units(CONTROL), units(TREATMENT)],
    metrics: [proportion('orders', { [CONTROL]: 100, [TREATMENT]: 100 })],
    conversions: [],
    suspects: [],
    segments: null,
    days: 10,
    has_ended: false,
    state: 'live',
    frozen_at: null,
    data_through: null,
    ...rest,
    question: {
      conversion_event_type: 'conversion',
      significance_threshold: 0.05,
      interval_method: 'wilson',
      method: 'sequential',
      confidence_level: 0.95,
      tuning: 5000,
      planned_users: null,
      dimension: null,
      departs: [],
      ...question,
    },
  }
}
