import type { Random } from '../../lab/random.ts'
import type { MetricRow } from './compute.ts'

/**
 * An experiment with a fixed analysis, three treatments, three allocation periods and crossovers counted under the
 * variant first assigned: green is better, blue does harm, grey is like the control.
 */

const HOUR = 3_600_000
const DAY = 24 * HOUR

export const WHOLE_SETTINGS = {
  dimensions: ['plan'],
  auto_start: false,
  analysis_method: 'fixed',
  planned_users: 600,
  planned_effect: 0.9,
  crossovers: 'first',
}
/** The shares of the allocation periods, and the user at whom each begins. */
export const WHOLE_SHARES: [from: number, shares: Record<string, number>][] = [
  [0, { control: 28, blue: 24, green: 24, grey: 24 }],
  [250, { control: 16, blue: 28, green: 28, grey: 28 }],
  [450, { control: 40, blue: 20, green: 20, grey: 20 }],
]

type Whole = { role: 'primary' | 'secondary' | 'guardrail'; definition: Record<string, unknown>; row: MetricRow }
const margin = (type: 'relative' | 'absolute', size: number) => ({
  definition: { direction: 'decrease', guardrail_margin: { type, size } },
  row: { direction: 'decrease', margin_type: type, margin: String(size) },
})

/** The metrics of the experiment, as defined and as the R script reads them. */
export const WHOLE: Record<string, Whole> = {
  points: {
    role: 'primary',
    definition: { type: 'sum', event_type: 'score', property: 'points', cap: 0.95, floor: 0.04 },
    row: { type: 'score', property: 'points', covariate_days: '14', cap: '0.95', floor: '0.04' },
  },
  deals: {
    role: 'primary',
    definition: { type: 'proportion', event_type: 'deal', covariate_days: 0 },
    row: { type: 'deal', binary: 'yes' },
  },
  'points-of-all': {
    role: 'secondary',
    definition: {
      type: 'sum',
      event_type: 'score',
      property: 'points',
      cap: 0.9,
      floor: 0.03,
      cap_of: 'all',
      window_hours: 80,
      covariate_days: 0,
    },
    row: { type: 'score', property: 'points', cap: '0.9', floor: '0.03', cap_of: 'all', until_hours: '80' },
  },
  'points-per-score': {
    role: 'secondary',
    definition: { type: 'mean', event_type: 'score', property: 'points', cap: 0.9, covariate_days: 0 },
    row: {
      kind: 'ratio',
      type: 'score',
      property: 'points',
      den_type: 'score',
      den_property: 'points',
      den_count: 'yes',
      cap: '0.9',
    },
  },
  scores: {
    role: 'secondary',
    definition: { type: 'count', event_type: 'score', cap: 0.8, cap_of: 'all', covariate_days: 7 },
    row: { type: 'score', cap: '0.8', cap_of: 'all', covariate_days: '7' },
  },
  complaints: {
    role: 'guardrail',
    definition: {
      type: 'proportion',
      event_type: 'complaint',
      covariate_days: 0,
      ...margin('absolute', 0.1).definition,
    },
    row: { type: 'complaint', binary: 'yes', ...margin('absolute', 0.1).row },
  },
  load: {
    role: 'guardrail',
    definition: {
      type: 'quantile',
      event_type: 'load',
      property: 'ms',
      quantile: 0.8,
      ...margin('relative', 0.5).definition,
    },
    row: { kind: 'quantile', type: 'load', property: 'ms', quantile: '0.8', ...margin('relative', 0.5).row },
  },
  'back-on-day-4': {
    role: 'guardrail',
    definition: {
      type: 'retention',
      event_type: 'visit',
      day: 4,
      guardrail_margin: { type: 'relative', size: 0.6 },
    },
    row: {
      type: 'visit',
      binary: 'yes',
      from_hours: '96',
      until_hours: '120',
      margin_type: 'relative',
      margin: '0.6',
    },
  },
}

type RecordEvent = (user_id: string, type: string, at: number, properties: object | null, tag?: number | null) => void

/** Records a user's events of the experiment's metrics, before and after exposure. */
export function actInWhole(random: Random, user_id: string, exposed: number, variant: string, record: RecordEvent) {
  const activity = 0.5 + random.uniform()
  const lift = variant === 'green' ? 2 : 1
  const draw = (probability: number) => random.uniform() < probability
  const within = (from: number, length: number) => exposed + Math.floor(from + random.uniform() * length)
  const score = (at: number, factor: number) => {
    const points = Math.round(factor * activity * 2000 * random.uniform()) / 100
    record(user_id, 'score', at, { points: draw(0.12) ? -points : points })
  }
  const scores = () => (draw(0.15) ? 0 : 1 + Math.floor(activity * 3 * random.uniform()))
  for (let count = scores(); count > 0; count--) score(within(-18 * DAY, 18 * DAY), 1)
  for (let count = scores(); count > 0; count--) score(within(0, 5 * DAY), lift)
  if (draw(variant === 'green' ? 0.6 : 0.3)) record(user_id, 'deal', within(0, 4 * DAY), null)
  if (draw(variant === 'blue' ? 0.5 : variant === 'green' ? 0.06 : 0.12))
    record(user_id, 'complaint', within(0, 3 * DAY), null)
  // Whole milliseconds repeat, so that order statistics tie.
  for (let count = 3; count > 0; count--)
    record(user_id, 'load', within(0, 3 * DAY), { ms: Math.round(10 * Math.exp(activity + random.normal() / 3)) })
  if (draw(0.5)) record(user_id, 'visit', within(4 * DAY, DAY), null)
  // The edges of the day: its first and last millisecond, and the first one after it.
  if (draw(0.2)) record(user_id, 'visit', exposed + (draw(0.3) ? 4 * DAY : draw(0.5) ? 5 * DAY - 1 : 5 * DAY), null)
}
