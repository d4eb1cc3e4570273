import { byExclusion } from '../../server/analysis/exclusions.ts'
import { FORMAT, type RunStatistics, type SummedMetric, type UnitCounts } from '../../server/analysis/statistics.ts'
import { NO_TOTALS } from '../../server/analysis/sums.ts'

/** Makes sufficient statistics of small runs as test data. */

export const CONTROL = 1
export const TREATMENT = 2

export const units = (variantId: number, given: Partial<UnitCounts> = {}): UnitCounts => {
  const users = given.users ?? 1000
  return {
    variantId,
    period: 1,
    assigned: users,
    drawn: users,
    drawnExposed: users,
    users,
    externallyDecided: 0,
    claimedOther: 0,
    crossovers: given.excluded?.crossover ?? 0,
    excluded: byExclusion(() => 0),
    ...given,
  }
}

/** Makes a proportion. @param converted the number of converted users by variant id */
export function proportion(
  key: string,
  converted: Record<number, number>,
  given: Partial<SummedMetric> = {},
): SummedMetric {
  return {
    key,
    name: key,
    version: 1,
    role: 'primary',
    kind: 'proportion',
    direction: 'increase',
    margin: { type: 'relative', size: 0.05 },
    minimumDetectableEffect: null,
    prior: null,
    windowEnds: null,
    properties: [],
    immature: {},
    observed: null,
    largest: null,
    hasCovariate: false,
    cap: null,
    floor: null,
    capOf: 'nonzero',
    status: 'ready',
    source: 'totals',
    cost: null,
    caps: null,
    sums: Object.entries(converted).map(([variant, users]) => ({
      ...NO_TOTALS,
      variantId: Number(variant),
      period: 1,
      users,
      events: users,
      num: users,
      numNum: users,
    })),
    ...given,
  }
}

export function run(
  given: Partial<Omit<RunStatistics, 'question'>> & { question?: Partial<RunStatistics['question']> } = {},
): RunStatistics {
  const { question, ...rest } = given
  return {
    format: FORMAT,
    engineVersion: 'test',
    experiment: { id: 1, name: 'checkout' },
    run: 1,
    mode: 'ab',
    variants: [
      { variantId: CONTROL, variantName: 'control', isControl: true, enabled: true },
      { variantId: TREATMENT, variantName: 'treatment', isControl: false, enabled: true },
    ],
    periods: [{ period: 1, shares: { [CONTROL]: 50, [TREATMENT]: 50 } }],
    units: [units(CONTROL), units(TREATMENT)],
    metrics: [proportion('orders', { [CONTROL]: 100, [TREATMENT]: 100 })],
    conversions: [],
    looks: [],
    decisions: [],
    eventsBeforeStart: 0,
    seenEventTypes: null,
    suspects: [],
    segments: null,
    startedAt: '2026-01-01T00:00:00.000Z',
    endedAt: null,
    days: 10,
    hasEnded: false,
    state: 'live',
    frozenAt: null,
    dataThrough: null,
    ...rest,
    question: {
      conversionEventType: 'conversion',
      significanceThreshold: 0.05,
      intervalMethod: 'wilson',
      method: 'sequential',
      confidenceLevel: 0.95,
      tuning: 5000,
      plannedUsers: null,
      plannedLooks: 1,
      plannedEffect: null,
      crossovers: 'exclude',
      completeWindows: false,
      dimension: null,
      departs: [],
      ...question,
    },
  }
}
