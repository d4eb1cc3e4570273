import type { Reached, VariantDecision } from './decide.ts'
import { formatTime } from './format-figures.ts'
import type { Reading } from './looks.ts'
import type { RecordedDecision, RunStatistics } from './statistics.ts'
import type { Judged } from './verdicts.ts'

/** Holds what the figures of now reach against the decisions that were recorded before. */

/**
 * Applies the last recorded decision: it stands, whatever fluctuates afterwards, unless the data cannot be trusted or a
 * later look contradicts it significantly: then a treatment that was to be shipped is stopped.
 */
export function withRecord(
  statistics: RunStatistics,
  variantId: number,
  readings: readonly Reading[],
  reached: Reached,
  judged: readonly Judged[],
): Omit<VariantDecision, 'variantId' | 'variantName'> {
  const unrecorded = { ...reached, decidedAt: null, decidedUsers: null }
  const recorded = standingOf(statistics, variantId, readings, reached)
  const last = recorded.at(-1)
  if (!last || reached.outcome === 'blocked') return unrecorded
  const { outcome, reasons, at, users } = last
  const wasShip = recorded.some((one) => one.outcome === 'ship')
  if (outcome === 'ship' && reached.outcome === 'stop')
    return { ...unrecorded, reasons: [contradiction(last), ...reached.reasons] }
  if (outcome === 'stop' && !wasShip && judged.some((one) => one.isBetter && one.isWorse))
    return { ...unrecorded, outcome: 'inconclusive', reasons: [contradiction(last), ...reached.reasons] }
  const isReopened = outcome !== 'ship' && outcome !== 'stop' && ['ship', 'stop'].includes(reached.outcome)
  return isReopened ? unrecorded : { outcome, reasons: [...reasons], decidedAt: at, decidedUsers: users }
}

const contradiction = ({ outcome, at }: RecordedDecision) =>
  `The decision of ${formatTime(at)} was to ${outcome}; later looks contradict it significantly, so the effect has changed.`

/**
 * Lists the recorded decisions on a treatment that stand. A/A tests ship and stop nothing, whatever earlier versions
 * recorded; and what a futile look left open ends with a later look that decides.
 */
function standingOf(
  { decisions, mode }: RunStatistics,
  variantId: number,
  readings: readonly Reading[],
  reached: Reached,
): RecordedDecision[] {
  const lastLook = readings.at(-1)?.look.at
  const isLater = (at: string) => lastLook !== undefined && (lastLook === '' || lastLook > at)
  return decisions.filter(({ variantId: id, outcome, at }) => {
    if (id !== variantId) return false
    if (outcome === 'ship' || outcome === 'stop') return mode !== 'aa'
    return reached.outcome === 'continue' || !isLater(at)
  })
}
