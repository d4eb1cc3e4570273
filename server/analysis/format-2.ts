import type { Format3, Metric3 } from './format-3.ts'
import type { Caps, MetricStatistics, MetricSums, Question, Segment, UnitCounts } from './statistics.ts'
import { NO_TOTALS } from './sums.ts'

type QuestionAdditions = 'plannedLooks' | 'plannedEffect' | 'crossovers' | 'completeWindows'
type MetricAdditions = 'minimumDetectableEffect' | 'prior' | 'properties' | 'immature' | 'observed' | 'largest'

/**
 * Format 2 of statistics, as frozen runs and exported files had them before looks and decisions were recorded.
 * Conversions had no allocation period.
 */
export type Format2 = Omit<
  Format3,
  | 'format'
  | 'question'
  | 'units'
  | 'segments'
  | 'metrics'
  | 'conversions'
  | 'looks'
  | 'decisions'
  | 'eventsBeforeStart'
  | 'seenEventTypes'
  | 'startedAt'
  | 'endedAt'
> & {
  format: 2
  question: Omit<Question, QuestionAdditions>
  units: Units2[]
  segments: (Omit<Segment, 'units'> & { units: Units2[] })[] | null
  metrics: Omit<Metric3, MetricAdditions>[]
  conversions: { variantId: number; users: number }[]
}

export type Units2 = Omit<UnitCounts, 'crossovers'>

/** Converts statistics of format 2 to format 3: what format 2 did not know has the value that it had by default. */
export function fromFormat2(old: Format2): Format3 {
  return {
    ...old,
    format: 3,
    question: { ...old.question, plannedLooks: 1, plannedEffect: null, crossovers: 'exclude', completeWindows: false },
    units: old.units.map(unitsOf),
    metrics: old.metrics.map(metricOf),
    // Period 0 is no period of the run: these conversions cannot be told apart by period.
    conversions: old.conversions.map((row) => ({ ...row, period: 0 })),
    segments: old.segments?.map(segmentOf) ?? null,
    looks: [],
    decisions: [],
    eventsBeforeStart: 0,
    seenEventTypes: null,
    startedAt: null,
    endedAt: null,
  }
}

function metricOf(old: Format2['metrics'][number]): Metric3 {
  const metric = {
    minimumDetectableEffect: null,
    prior: null,
    properties: [],
    immature: {},
    observed: null,
    largest: null,
    ...old,
  } as unknown as MetricStatistics
  if (metric.kind === 'quantile') return { ...metric, counts: null, strata: [] }
  return {
    ...metric,
    floor: null,
    capOf: 'all',
    caps: metric.caps && capsOf(metric.caps),
    sums: metric.sums.map(sumsOf),
  }
}

const capsOf = (caps: Caps): Caps => ({ ...caps, outcomeFloor: null, covariateFloor: null, isZero: false })

const unitsOf = (row: Units2): UnitCounts => ({ ...row, crossovers: row.excluded.crossover })

const segmentOf = ({ metrics, units, ...segment }: NonNullable<Format2['segments']>[number]): Segment => ({
  ...segment,
  units: units.map(unitsOf),
  metrics: metrics.map(({ key, sums }) => ({ key, sums: sums.map(sumsOf) })),
})

/** Adds the counters that format 2 did not have, as 0. */
const sumsOf = (row: MetricSums): MetricSums => ({ ...NO_TOTALS, ...row })
