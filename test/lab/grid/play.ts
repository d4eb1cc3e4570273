import { type Analysis, analyse } from '../../../server/analysis/analyse.ts'
import type { RecordedDecision, RunStatistics } from '../../../server/analysis/statistics.ts'

/** Looks at a run as the platform's monitor does: a look analyses the run and records what it decides. */

/**
 * Analyses a run and records the decisions of this look in its statistics, where later looks find them. The first
 * `ship` or `stop` of a treatment stands.
 * @returns the analysis, and the recorded decisions of all looks so far
 */
export function lookAtRun(statistics: RunStatistics): { analysis: Analysis; decisions: readonly RecordedDecision[] } {
  const analysis = analyse(statistics)
  for (const { variantId, outcome, reasons } of analysis.decision.variants) {
    if (outcome !== 'ship' && outcome !== 'stop') continue
    if (statistics.decisions.some((decision) => decision.variantId === variantId)) continue
    const users = statistics.units.reduce((sum, row) => sum + row.users, 0)
    statistics.decisions.push({ variantId, outcome, at: statistics.dataThrough ?? '', users, reasons })
  }
  return { analysis, decisions: statistics.decisions }
}
