import { type Analysis, analyse } from '../../../server/analysis/analyse.ts'
import { recordable, withRecords } from '../../../server/analysis/record.ts'
import type { RunStatistics } from '../../../server/analysis/statistics.ts'

/**
 * Looks at a run as the platform's monitor does: analyses it, and records in its statistics what the look found and
 * decided, where later looks read it.
 */
export function lookAtRun(statistics: RunStatistics): Analysis {
  const analysis = analyse(statistics)
  const recorded = withRecords(statistics, recordable(statistics, statistics.dataThrough ?? '', analysis))
  statistics.looks = recorded.looks
  statistics.decisions = recorded.decisions
  return analysis
}
