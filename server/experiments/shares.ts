import { fractionsFault, sumPercents } from '../evaluation/allocation.ts'
import type { Variant } from './entity.ts'

/** Says what is wrong with the shares of an experiment. */

type Shares = readonly Pick<Variant, 'percent_allocated'>[]

/** Sums the shares of variants, in percent. */
export const totalOf = (variants: Shares): number =>
  sumPercents(variants.map(({ percent_allocated }) => percent_allocated))

/**
 * Says that the shares are fractions of 1, which no experiment can start with.
 * @param variants all variants of the experiment
 * @returns null for percentages
 */
export function sharesFault(variants: Shares): string | null {
  const fault = fractionsFault(variants.map(({ percent_allocated }) => percent_allocated))
  return fault && `${fault} (for a test with 1 % of the users, set traffic_percent to 1)`
}
