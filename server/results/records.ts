import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { Look, MetricStatistics, Question, RunStatistics } from '../analysis/statistics.ts'
import { type RunDecision, RunLook } from './entity.ts'
import { keyOfType } from './specs.ts'

/** Reads the looks and decisions that the alert monitor recorded of a run. */

/** The confidence level by which decisions are recorded. */
export const RECORDED_LEVEL = 0.95
/** The primary metric of an experiment that has none attached. */
const DEFAULT_KEY = keyOfType('conversion')

/**
 * Tells whether a question is the planned one, to which the records belong: as a plain question, it departs from
 * nothing, has the usual level, and where no metric is attached the usual event type.
 */
export const isPlanned = (
  { departs, confidenceLevel }: Question,
  metrics: readonly Pick<MetricStatistics, 'role' | 'key' | 'version'>[],
): boolean =>
  departs.length === 0 &&
  confidenceLevel === RECORDED_LEVEL &&
  metrics.every(({ role, key, version }) => role !== 'primary' || version !== null || key === DEFAULT_KEY)

type Timed<Row extends { at: Date }> = Omit<Row, 'at'> & { at: string }
/** The records of a run as `recordsOf` reads them. */
export type Records = {
  looks: Timed<Pick<RunLook, 'at' | 'users' | 'planned' | 'figures'>>[]
  decisions: Timed<Pick<RunDecision, 'variant_id' | 'outcome' | 'at' | 'users' | 'reasons'>>[]
}

/**
 * Reads the records of the planned question: all planned looks, then the last running look, and the decisions.
 * @returns an expression whose value are the records as JSON; without any, if the run is null
 */
export const recordsOf = (runId: number | null) => sql<Records>`json_build_object(
  'looks', (
    select coalesce(json_agg(json_build_object('at', l.at, 'users', l.users, 'planned', l.planned, 'figures', l.figures)
      order by l.planned), '[]')
    from run_looks l
    where l.run_id = ${runId}::int and (l.planned is not null or l.id = (
      select last.id from run_looks last where last.run_id = ${runId}::int and last.planned is null
      order by last.at desc limit 1))),
  'decisions', (
    select coalesce(json_agg(json_build_object('variant_id', d.variant_id, 'outcome', d.outcome, 'at', d.at,
      'users', d.users, 'reasons', d.reasons) order by d.id), '[]')
    from run_decisions d where d.run_id = ${runId}::int))`

/** Returns the records as statistics hold them. */
export const asRecords = ({ looks, decisions }: Records): Pick<RunStatistics, 'looks' | 'decisions'> => ({
  looks: looks.map(asLook),
  decisions: decisions.map(({ variant_id: variantId, outcome, at, users, reasons }) => ({
    variantId,
    outcome,
    at: new Date(at).toISOString(),
    users,
    reasons,
  })),
})

/** Reads the running looks of a run, in the order of time. */
export async function readRunningLooks(em: EntityManager, runId: number): Promise<Look[]> {
  return (await em.find(RunLook, { run_id: runId, planned: null }, { orderBy: { at: 'asc' } })).map(asLook)
}

const asLook = ({ at, users, planned, figures }: Omit<Look, 'at'> & { at: Date | string }): Look => ({
  at: new Date(at).toISOString(),
  users,
  planned,
  figures,
})
