import { byExclusion } from '../../../server/analysis/exclusions.ts'
import {
  FORMAT,
  type Method,
  type MetricSums,
  type Question,
  type RunStatistics,
  type SummedMetric,
  type UnitCounts,
} from '../../../server/analysis/statistics.ts'
import { NO_TOTALS } from '../../../server/analysis/sums.ts'
import { DEFAULT_TUNING } from '../../../server/statistics/sequential.ts'
import type { Random } from '../random.ts'
import { CONFIDENCE, type Conditions, GROUP_SEQUENTIAL_SIZE } from './cells.ts'
import { addUsers, momentsOf, type Population } from './population.ts'

/** Simulates one experiment, look by look, as the sufficient statistics that the platform would gather. */

/** The share of users with a value changes from period to period, for all variants alike. */
const DRIFT = [1, 1.5, 0.7]
const START = Date.parse('2026-01-01T00:00:00Z')
const HOUR = 3_600_000

export type Experiment = {
  /** The statistics by method. All methods share units and metrics, which change from look to look. */
  statistics: RunStatistics[]
  /** Draws the users who arrive until a look, counted from 0. */
  advance: (look: number) => void
  /** The true difference of a primary metric at the present look, in the unit of the metric. */
  trueDifference: () => number
}

export function createExperiment(random: Random, conditions: Conditions, methods: readonly Method[]): Experiment {
  const variants = Array.from({ length: conditions.variants }, (_, index) => ({
    variantId: index + 1,
    variantName: index === 0 ? 'control' : `treatment ${index}`,
    isControl: index === 0,
    enabled: true,
  }))
  const periods: RunStatistics['periods'] = []
  const units: UnitCounts[] = []
  const metrics = Array.from({ length: conditions.primaries + conditions.guardrails }, (_, index) =>
    createMetric(conditions, index),
  )
  const sizes = looksOf(conditions)
  let users = 0

  const startPeriod = (period: number) => {
    periods.push({ period, shares: sharesOf(conditions, period) })
    for (const { variantId } of variants) {
      units.push(noUnits(variantId, period))
      for (const { sums } of metrics) sums.push({ ...NO_TOTALS, variantId, period })
    }
  }
  /** @param count users who arrive in a period */
  const arrive = (count: number, period: number) => {
    const shares = periods[period - 1]?.shares ?? {}
    let [left, percent] = [count, 100]
    for (const [index, { variantId }] of variants.entries()) {
      const share = shares[variantId] as number
      const own = index === variants.length - 1 ? left : random.binomial(left, Math.min(1, share / percent))
      left -= own
      percent -= share
      const row = (period - 1) * variants.length + index
      countUsers(units[row] as UnitCounts, own)
      for (const { role, sums } of metrics)
        addUsers(random, populationOf(conditions, role, index > 0, period), own, sums[row] as MetricSums)
    }
  }

  const shared = { variants, periods, units, metrics }
  const statistics = methods.map((method) => ({ ...emptyRun(conditions, method), ...shared }))
  return {
    statistics,
    advance(look) {
      const until = sizes[look] as number
      while (users < until) {
        const period = Math.min(conditions.periods, 1 + Math.floor((users * conditions.periods) / conditions.users))
        if (periods.length < period) startPeriod(period)
        const end = period === conditions.periods ? until : Math.ceil((period * conditions.users) / conditions.periods)
        arrive(Math.min(until, end) - users, period)
        users = Math.min(until, end)
      }
      const at = new Date(START + (look + 1) * HOUR).toISOString()
      for (const run of statistics) {
        run.dataThrough = at
        run.days = (look + 1) / 24
        run.hasEnded = look === sizes.length - 1
      }
    },
    trueDifference() {
      const weights = periods.map(({ period }) =>
        units.reduce((sum, row) => sum + (row.period === period ? row.users : 0), 0),
      )
      const mean = weights.reduce(
        (sum, weight, index) =>
          sum + weight * momentsOf(conditions.kind, conditions.share * (DRIFT[index] as number)).mean,
        0,
      )
      return (conditions.uplift * mean) / users
    },
  }
}

/** The users at the first look, where looks are not evenly spaced. */
const FIRST_LOOK = 100

/** Returns the number of users at each look. */
export function looksOf({ users, looks, spacing }: Pick<Conditions, 'users' | 'looks' | 'spacing'>): number[] {
  return Array.from({ length: looks }, (_, look) =>
    Math.round(
      spacing === 'even' ? (users * (look + 1)) / looks : FIRST_LOOK * (users / FIRST_LOOK) ** (look / (looks - 1)),
    ),
  )
}

function sharesOf({ control, variants }: Conditions, period: number): Record<string, number> {
  const own = period === 2 ? (control === 50 ? 20 : 50) : control
  return Object.fromEntries(
    Array.from({ length: variants }, (_, index) => [index + 1, index === 0 ? own : (100 - own) / (variants - 1)]),
  )
}

function populationOf(
  { kind, share, hasCovariate, uplift, margin, isHarmful, guardrailDirection, spread }: Conditions,
  role: SummedMetric['role'],
  isTreatment: boolean,
  period: number,
): Population {
  const harm = isHarmful ? (guardrailDirection === 'increase' ? -margin : margin) : 0
  return {
    kind,
    share: share * (DRIFT[period - 1] as number),
    hasCovariate,
    uplift: !isTreatment ? 0 : role === 'guardrail' ? harm : uplift,
    spread: isTreatment ? spread : 1,
  }
}

function noUnits(variantId: number, period: number): UnitCounts {
  return {
    variantId,
    period,
    assigned: 0,
    drawn: 0,
    drawnExposed: 0,
    users: 0,
    externallyDecided: 0,
    claimedOther: 0,
    crossovers: 0,
    excluded: byExclusion(() => 0),
  }
}

function countUsers(row: UnitCounts, users: number) {
  row.assigned += users
  row.drawn += users
  row.drawnExposed += users
  row.users += users
}

function createMetric(conditions: Conditions, index: number): SummedMetric {
  const { kind, share, hasCovariate, primaries, margin, marginType, guardrailDirection } = conditions
  const isPrimary = index < primaries
  return {
    key: `metric ${index + 1}`,
    name: `metric ${index + 1}`,
    version: 1,
    role: isPrimary ? 'primary' : 'guardrail',
    kind: kind === 'count' || kind === 'revenue' ? 'mean' : kind,
    direction: isPrimary ? 'increase' : guardrailDirection,
    margin: { type: marginType, size: marginType === 'relative' ? margin : margin * momentsOf(kind, share).mean },
    minimumDetectableEffect: null,
    prior: null,
    windowEnds: null,
    properties: [],
    immature: {},
    observed: null,
    largest: null,
    hasCovariate,
    cap: null,
    floor: null,
    capOf: 'nonzero',
    status: 'ready',
    source: 'totals',
    cost: null,
    caps: null,
    sums: [],
  }
}

function emptyRun({ plannedUsers, plannedEffect }: Conditions, method: Method): RunStatistics {
  const isGroupSequential = method === 'group_sequential'
  const planned = plannedUsers && Math.ceil(plannedUsers * (isGroupSequential ? GROUP_SEQUENTIAL_SIZE : 1))
  const question: Question = {
    conversionEventType: 'conversion',
    significanceThreshold: 1 - CONFIDENCE,
    intervalMethod: 'wilson',
    method,
    confidenceLevel: CONFIDENCE,
    tuning: planned ?? DEFAULT_TUNING,
    plannedUsers: planned,
    plannedLooks: isGroupSequential ? 5 : 1,
    plannedEffect,
    crossovers: 'exclude',
    completeWindows: false,
    dimension: null,
    departs: [],
  }
  return {
    format: FORMAT,
    engineVersion: 'laboratory',
    experiment: { id: 1, name: 'simulated' },
    run: 1,
    mode: 'ab',
    startedAt: null,
    endedAt: null,
    question,
    variants: [],
    periods: [],
    units: [],
    metrics: [],
    conversions: [],
    looks: [],
    decisions: [],
    eventsBeforeStart: 0,
    seenEventTypes: null,
    suspects: [],
    segments: null,
    days: null,
    hasEnded: false,
    state: 'live',
    frozenAt: null,
    dataThrough: null,
  }
}
