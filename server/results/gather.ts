import type { EntityManager } from '@mikro-orm/sql'
import { hasBreakdown } from '../analysis/answer.ts'
import { ENGINE_VERSION } from '../analysis/engine.ts'
import { checkRatios } from '../analysis/sample-ratios.ts'
import { FORMAT, type RunStatistics, type Variant } from '../analysis/statistics.ts'
import type { Run } from '../experiments/entity.ts'
import { readLargest } from './largest.ts'
import { withLongTail } from './long-tail.ts'
import { readMetric, unmeasured } from './measured.ts'
import { type Correction, declaredOf, type ResultsQuery } from './query.ts'
import { asRecords, isPlanned } from './records.ts'
import { cellFilter, type InCell, NO_ROWS, type Rows, readRows, sumsOf, windowedOf } from './rows.ts'
import { readSeenTypes } from './seen-types.ts'
import { readShape, type Shape } from './shape.ts'
import { findSuspects } from './suspects.ts'
import { asCounts, type UnitRow } from './totals.ts'

const DAY_MS = 86_400_000

/**
 * Gathers the sufficient statistics that answer a query, in the caller's transaction. All figures are of one moment if
 * the transaction reads one snapshot.
 */
export async function gather(em: EntityManager, query: ResultsQuery, correction: Correction): Promise<RunStatistics> {
  const { experiment, run, question } = query
  const hasRecords = isPlanned(
    question,
    query.specs.map(({ metric }) => metric),
  )
  const shape = await readShape(em, experiment.id, run, hasRecords)
  const { variants, periods, now } = shape
  const rows = run ? await readRows(em, run, query, correction, now) : NO_ROWS
  const inCell = cellFilter(query, rows.isRaw)
  const units = rows.units.filter(inCell)
  const metrics: RunStatistics['metrics'] = []
  for (const [index, spec] of query.specs.entries())
    metrics.push(run ? await readMetric(em, { run, query, correction, rows, units }, spec, index) : unmeasured(spec))
  if (run) await readLargest(em, { run, query, correction, rows, units }, metrics)
  const statistics: RunStatistics = {
    format: FORMAT,
    engineVersion: ENGINE_VERSION,
    experiment: { id: experiment.id, name: experiment.name },
    run: run?.number ?? null,
    mode: run?.plan?.mode ?? experiment.mode,
    question,
    variants: variantsOf(run, variants, periods),
    periods: run ? periodsOf(periods, units) : [{ period: 1, shares: sharesOf(variants) }],
    units: units.map((row) => asCounts(row, question.crossovers)),
    metrics,
    conversions: sumsOf(query.documented, query.specs.length, rows, inCell).map(({ variantId, period, users }) => ({
      variantId,
      period,
      users,
    })),
    ...asRecords(shape.records),
    eventsBeforeStart: shape.events_before_start,
    seenEventTypes: run ? await readSeenTypes(em, run, metrics, units) : null,
    suspects: [],
    segments: question.dimension === null ? null : segmentsOf(query, metrics, rows, question.dimension),
    startedAt: run?.started_at.toISOString() ?? null,
    endedAt: run?.ended_at?.toISOString() ?? null,
    days: run ? ((run.ended_at?.getTime() ?? now) - run.started_at.getTime()) / DAY_MS : null,
    hasEnded: run?.ended_at != null,
    state: run?.frozen_at ? 'frozen' : run?.ended_at ? 'settling' : 'live',
    frozenAt: run?.frozen_at?.toISOString() ?? null,
    dataThrough: correction.dataThrough?.toISOString() ?? null,
  }
  const { assigned, exposed } = checkRatios(statistics)
  if (run && (assigned.isMismatch || exposed.isMismatch))
    statistics.suspects = await findSuspects(em, run, declaredOf(experiment), correction.userIds, query.timeZone)
  return statistics
}

function segmentsOf(
  { specs, question }: ResultsQuery,
  metrics: RunStatistics['metrics'],
  rows: Rows,
  dimension: string,
): NonNullable<RunStatistics['segments']> {
  const { values, ...totals } = withLongTail(rows, dimension, question.crossovers)
  const own = { ...rows, ...totals }
  return values.map((value) => {
    const inCell: InCell = (row) => row.dimension === dimension && row.dimension_value === value
    return {
      value,
      units: own.units.filter(inCell).map((row) => asCounts(row, question.crossovers)),
      metrics: specs.flatMap((spec, index) => {
        const metric = metrics[index]
        if (!metric || !hasBreakdown(metric)) return []
        const { observed } = windowedOf(spec, index, own, inCell, question.crossovers)
        return [{ key: metric.key, sums: sumsOf(spec, index, own, inCell), observed }]
      }),
    }
  })
}

/**
 * Lists the variants with the control first. After the end of a run, a variant counts as disabled if it was disabled in
 * the last allocation period.
 */
function variantsOf(run: Run | null, variants: Shape['variants'], periods: Shape['periods']): Variant[] {
  const lastShares = run?.ended_at ? periods.at(-1)?.shares : undefined
  const all = variants.map((variant) => ({
    variantId: variant.id,
    variantName: variant.name,
    isControl: variant.is_control,
    enabled: lastShares?.find(({ variant_id }) => variant_id === variant.id)?.enabled ?? variant.enabled,
  }))
  const control = all.find(({ isControl }) => isControl) ?? all[0]
  return control ? [control, ...all.filter((variant) => variant !== control)] : []
}

const sharesOf = (variants: readonly { id: number; percent_allocated: number; enabled: boolean }[]) =>
  Object.fromEntries(variants.map(({ id, percent_allocated, enabled }) => [id, enabled ? percent_allocated : 0]))

/** Returns the allocation periods with assigned users; the last period, if there are none. */
function periodsOf(periods: Shape['periods'], units: readonly UnitRow[]): RunStatistics['periods'] {
  const all = periods.map(({ number, shares }) => ({
    period: number,
    shares: sharesOf(shares.map(({ variant_id: id, ...share }) => ({ id, ...share }))),
  }))
  const isUsed = new Set(units.filter(({ assigned }) => assigned > 0).map(({ period }) => period))
  const used = all.filter(({ period }) => isUsed.has(period))
  return used.length > 0 ? used : all.slice(-1)
}
