import { type Analysis, analyse } from './analyse.ts'
import { totalUsers } from './counts.ts'
import type { Decision, Evidence, Outcome } from './decide.ts'
import { lastRunningLook } from './looks.ts'
import type { Look, RecordedDecision, RecordedOutcome, RunStatistics } from './statistics.ts'

/** Says what the alert monitor records when it looks at a run. */

/** `running` replaces the running look of the same hour; `planned` and `decisions` are added. */
export type Recordable = { running: Look | null; planned: Look | null; decisions: RecordedDecision[] }

const NOTHING: Recordable = { running: null, planned: null, decisions: [] }

/**
 * Finds what a look at these statistics adds to the records of the run: the running look where a figure moved, the
 * planned look that is due, and the decisions that are reached. Data that cannot be trusted add nothing, and nor does a
 * run that has no users.
 * @param at the time of the look, in ISO 8601
 */
export function recordable(statistics: RunStatistics, at: string, analysis = analyse(statistics)): Recordable {
  const { evidence, decision } = analysis
  const users = totalUsers(statistics)
  if (evidence.problems.length > 0 || users === 0 || statistics.question.departs.length > 0) return NOTHING
  const last = lastRunningLook(statistics.looks)
  const figures = evidence.running
  const due = evidence.readings.at(-1)?.look
  return {
    running: last && isSame(last, figures) ? null : { at, users, planned: null, figures },
    planned: due && due.at === '' ? { ...due, at } : null,
    decisions: reachedDecisions(decision, evidence, at, users),
  }
}

/** Tells whether a look finds nothing new: evidence and intervals are as before. */
const isSame = (last: Look, figures: Look['figures']) =>
  JSON.stringify(last.figures.map(evidenceOf)) === JSON.stringify(figures.map(evidenceOf))
const evidenceOf = ({ key, variantId, pHigher, pLower, interval, upliftInterval }: Look['figures'][number]) => [
  key,
  variantId,
  pHigher,
  pLower,
  interval,
  upliftInterval,
]

/** Lists the outcomes that are reached and not recorded. Only planned looks end in an outcome other than ship or stop. */
function reachedDecisions(
  { variants }: Decision,
  { readings, isAwaited }: Evidence,
  at: string,
  users: number,
): RecordedDecision[] {
  return variants.flatMap(({ variantId, outcome, reasons, decidedAt }) => {
    const isFinal =
      outcome === 'ship' || outcome === 'stop' || (readings.length > 0 && !isAwaited && isRecorded(outcome))
    return decidedAt === null && isFinal && isRecorded(outcome) ? [{ variantId, outcome, at, users, reasons }] : []
  })
}

const isRecorded = (outcome: Outcome): outcome is RecordedOutcome => outcome !== 'continue' && outcome !== 'blocked'

/** Adds what was recorded to the statistics, as the next look reads them. */
export function withRecords(statistics: RunStatistics, { running, planned, decisions }: Recordable): RunStatistics {
  const looks = running ? statistics.looks.filter((look) => look.planned !== null) : statistics.looks
  return {
    ...statistics,
    looks: [...looks, ...(planned ? [planned] : []), ...(running ? [running] : [])],
    decisions: [...statistics.decisions, ...decisions],
  }
}

/** Tells whether an answer reaches a decision that is not recorded. */
export const isUnrecorded = (statistics: RunStatistics, analysis: Analysis & { evidence: Evidence }): boolean => {
  const { planned, decisions } = recordable(statistics, '', analysis)
  return planned !== null || decisions.length > 0
}
