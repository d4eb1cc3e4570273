/**
 * The reasons to leave an exposed user out of the analysis, each with the name of its count: the field of an answer,
 * and in snake_case the column of `variant_units`. The order is the precedence: where several reasons apply, the first
 * is stored.
 */
export const EXCLUSIONS = {
  override: 'overridden',
  hand: 'excludedByHand',
  attribute: 'excludedByAttribute',
  rate: 'excludedByRate',
  crossover: 'crossovers',
} as const

export type ExclusionReason = keyof typeof EXCLUSIONS
/** The name of the count of users who are left out for a reason. */
export type ExclusionCount = (typeof EXCLUSIONS)[ExclusionReason]

/** In order of precedence. */
export const EXCLUSION_REASONS = Object.keys(EXCLUSIONS) as ExclusionReason[]

/** Gives every reason its own value. */
export const byExclusion = <Value>(valueFor: (reason: ExclusionReason) => Value) =>
  Object.fromEntries(EXCLUSION_REASONS.map((reason) => [reason, valueFor(reason)])) as Record<ExclusionReason, Value>
