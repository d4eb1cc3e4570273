import { normalQuantile } from '../statistics/distributions.ts'
import { futilityBounds } from '../statistics/group-sequential.ts'
import type { Reading } from './looks.ts'
import type { RunStatistics } from './statistics.ts'
import type { Judged } from './verdicts.ts'

/** The power at which a group sequential analysis is planned. */
const PLANNED_POWER = 0.8

/**
 * Tells whether a treatment crosses the futility bound of the last planned look in every primary metric: with the
 * planned effect, so small a gain would hardly be seen. The bound does not bind: a run that goes on is still valid.
 */
export function isFutile(
  { question }: RunStatistics,
  reading: Reading | undefined,
  judged: readonly Judged[],
): boolean {
  if (question.method !== 'group_sequential' || !reading || reading.isFinal) return false
  const { confidenceLevel, plannedLooks } = question
  const bound = futilityBounds(reading.fractions, confidenceLevel, PLANNED_POWER, plannedLooks).at(-1) as number
  const primaries = judged.filter(({ role }) => role === 'primary')
  return primaries.length > 0 && primaries.every((one) => !one.isBetter && isBelow(gainInErrors(one), bound))
}

/** An unknown gain is not futile. */
const isBelow = (gain: number | null, bound: number) => gain !== null && gain < bound

/** Returns the gain in standard errors: positive in the good direction, null where it is undefined. */
function gainInErrors({ figures, direction }: Judged): number | null {
  if (!figures || figures.pValue === null || figures.difference === null) return null
  const size = figures.pValue >= 1 ? 0 : -normalQuantile(Math.max(figures.pValue, 1e-300) / 2)
  return figures.difference > 0 === (direction === 'increase') ? size : -size
}
