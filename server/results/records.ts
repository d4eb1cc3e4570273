import type { EntityManager } from '@mikro-orm/sql'
import type { Look, MetricStatistics, Question, RunStatistics } from '../analysis/statistics.ts'
import { RunDecision, RunLook } from './entity.ts'
import type { ResultsQuery } from './query.ts'
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

type Records = Pick<RunStatistics, 'looks' | 'decisions'>
const NONE: Records = { looks: [], decisions: [] }

/** Reads the records of the planned question: all planned looks, the last running look, and the decisions. */
export async function readRecords(em: EntityManager, query: ResultsQuery): Promise<Records> {
  const { run, question, specs } = query
  if (
    run === null ||
    !isPlanned(
      question,
      specs.map(({ metric }) => metric),
    )
  )
    return NONE
  const planned = await em.find(RunLook, { run_id: run.id, planned: { $ne: null } }, { orderBy: { planned: 'asc' } })
  const running = await em.find(RunLook, { run_id: run.id, planned: null }, { orderBy: { at: 'desc' }, limit: 1 })
  const decisions = await em.find(RunDecision, { run_id: run.id }, { orderBy: { id: 'asc' } })
  return {
    looks: [...planned, ...running].map(asLook),
    decisions: decisions.map(({ variant_id: variantId, outcome, at, users, reasons }) => ({
      variantId,
      outcome,
      at: at.toISOString(),
      users,
      reasons,
    })),
  }
}

/** Reads the running looks of a run, in the order of time. */
export async function readRunningLooks(em: EntityManager, runId: number): Promise<Look[]> {
  return (await em.find(RunLook, { run_id: runId, planned: null }, { orderBy: { at: 'asc' } })).map(asLook)
}

const asLook = ({ at, users, planned, figures }: RunLook): Look => ({ at: at.toISOString(), users, planned, figures })
