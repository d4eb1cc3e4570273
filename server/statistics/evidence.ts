/** Measures the evidence of a comparison: how many events each variant would have if the variants did not differ. */

/**
 * One allocation period with its weight in the comparison. `events` counts users with a value other than 0; in a rate,
 * users who converted.
 */
export type EvidencePeriod = {
  weight: number
  control: { n: number; events: number }
  treatment: { n: number; events: number }
}

/**
 * Computes the number of users with an event that each variant is expected to have at the pooled share: `n_i p`, with
 * `p = Σ w (events_c + events_t) / (n_c + n_t)` and `n_i = 1 / Σ (w² / n_is)`, the number of users whose mean would
 * vary as the weighted mean of the periods does. One period gives the users and the share of all users with an event.
 * @param isRate true: the rarer one of conversions and non-conversions counts
 * @see docs/comparisons.md, "Small and unequal variants"
 */
export function expectedEvents(
  periods: readonly EvidencePeriod[],
  isRate: boolean,
): { control: number; treatment: number } {
  let [pooled, control, treatment] = [0, 0, 0]
  for (const { weight, control: c, treatment: t } of periods) {
    pooled += (weight * (c.events + t.events)) / (c.n + t.n)
    control += weight ** 2 / c.n
    treatment += weight ** 2 / t.n
  }
  const share = isRate ? Math.max(0, Math.min(pooled, 1 - pooled)) : pooled
  return { control: share / control, treatment: share / treatment }
}
