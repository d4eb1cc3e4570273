import { createHash } from 'node:crypto'

/**
 * A user's place in [0, 100) under one salt. The whole part is `hash mod 100`, so that whole-percent allocations give
 * the very same variant as that bucket; the fraction makes 0.0001 % possible.
 * @param text for example `user_id:experiment_id`
 */
export function position(text: string): number {
  const hash = Number.parseInt(createHash('sha256').update(text, 'utf8').digest('hex').slice(0, 8), 16)
  return (hash % 100) + Math.floor(hash / 100) / 42_949_673
}

/** The text that draws a user for an experiment: later runs and later periods draw independently. */
export function drawText(userId: string, experimentId: number, run: number, period: number): string {
  return `${userId}:${experimentId}${run > 1 ? `:run:${run}` : ''}${period > 1 ? `:period:${period}` : ''}`
}

/** The text of the traffic draw: independent of the variant's, so that a ramp moves nobody. */
export const trafficText = (userId: string, experimentId: number) => `${userId}:${experimentId}:traffic`
