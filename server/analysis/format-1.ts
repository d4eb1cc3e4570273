import type { Format2, Units2 } from './format-2.ts'
import { camelCased } from './snake-case.ts'
import type { Departure, MetricStatistics, MetricSums, QuantileSums } from './statistics.ts'

/**
 * Format 1 of statistics, as frozen runs and exported files had them before formats were numbered: names were in
 * snake_case, sums were positional, and departures from the plan were phrases.
 */
export type Format1 = {
  question: { departs: string[] } & Record<string, unknown>
  units: Units1[]
  metrics: Metric1[]
  segments: { value: string; units: Units1[]; metrics: Sums1[][] }[] | null
} & Record<string, unknown>

type Cell1 = { variant_id: number; period: number }
type Units1 = Cell1 & Record<string, number>
type Sums1 = Cell1 & {
  users: number
  exposing: number
  events: number
  unusable: number
  /** The order is num, den, pre_num, pre_den. */
  sums: number[]
  /** The products of any two sums: num num, num den, num pre_num, num pre_den, den den, … */
  products: number[]
}
type Quantile1 = { variant_id: number; lower: number; upper: number; sum_jn: number } & Record<string, number>
type Metric1 = {
  kind: MetricStatistics['kind']
  has_covariate: boolean
  cap: number | null
  quantile: number | null
  caps: unknown
  sums: Sums1[]
  quantiles: Quantile1[]
} & Record<string, unknown>

/** Converts statistics of format 1 to format 2. */
export function fromFormat1(old: Format1): Format2 {
  const { question, units, metrics, segments, ...others } = old
  return {
    format: 2,
    ...(camelCased(others) as object),
    question: { ...(camelCased(question) as object), departs: question.departs.map(departureOf) },
    units: units.map(unitsOf),
    metrics: metrics.map(metricOf),
    segments: segments ? segments.map((segment) => segmentOf(segment, metrics)) : null,
  } as unknown as Format2
}

const segmentOf = (segment: NonNullable<Format1['segments']>[number], metrics: readonly Metric1[]) => ({
  value: segment.value,
  units: segment.units.map(unitsOf),
  metrics: segment.metrics.map((sums, index) => ({ key: metrics[index]?.key, sums: sums.map(sumsOf) })),
})

const DEPARTURES: Record<string, Departure> = {
  'of some users only': 'users',
  'of one segment': 'segment',
  'of part of the time': 'period',
  'as of an earlier time': 'as_of',
  'in another window': 'window',
  'of some metrics only': 'metrics',
  'read from events after the results were frozen': 'after_freezing',
}

/** All other phrases name the method, such as `by a fixed analysis`. */
const departureOf = (phrase: string): Departure => DEPARTURES[phrase] ?? 'method'

function unitsOf({
  overridden = 0,
  excluded_by_hand: hand = 0,
  excluded_by_attribute: attribute = 0,
  excluded_by_rate: rate = 0,
  crossovers: crossover = 0,
  ...others
}: Units1): Units2 {
  const excluded = { override: overridden, hand, attribute, rate, crossover }
  return { ...(camelCased(others) as object), excluded } as Units2
}

const SUMS = ['num', 'den', 'preNum', 'preDen']
const PRODUCTS = [
  'numNum',
  'numDen',
  'numPreNum',
  'numPreDen',
  'denDen',
  'denPreNum',
  'denPreDen',
  'preNumPreNum',
  'preNumPreDen',
  'preDenPreDen',
]

function sumsOf({ variant_id, sums, products, ...counters }: Sums1): MetricSums {
  const named = [
    ...SUMS.map((name, index) => [name, sums[index]]),
    ...PRODUCTS.map((name, index) => [name, products[index]]),
  ]
  return { variantId: variant_id, ...counters, ...Object.fromEntries(named) }
}

function metricOf({ has_covariate, cap, quantile, caps, sums, quantiles, ...measured }: Metric1): MetricStatistics {
  const own =
    measured.kind === 'quantile'
      ? { quantile, quantiles: quantiles.map(quantileOf) }
      : { hasCovariate: has_covariate, cap, caps, sums: sums.map(sumsOf) }
  return { ...measured, ...own } as unknown as MetricStatistics
}

const quantileOf = ({ lower, upper, sum_jn, ...row }: Quantile1): QuantileSums =>
  ({ ...(camelCased(row) as object), quantileLower: lower, quantileUpper: upper, sumJN: sum_jn }) as QuantileSums
