/**
 * The reasons to exclude an exposed user from the analysis, each with the name of its count. The name is a field of the
 * answer and, in snake_case, a column of `variant_units`. The order is the precedence: where several reasons apply, the
 * first is stored.
 */
export const EXCLUSIONS = {
  override: 'overridden',
  hand: 'excludedByHand',
  attribute: 'excludedByAttribute',
  rate: 'excludedByRate',
  crossover: 'crossovers',
} as const

export type ExclusionReason = keyof typeof EXCLUSIONS
/** The name of a reason's count of excluded users. */
export type ExclusionCount = (typeof EXCLUSIONS)[ExclusionReason]

/** The reasons in order of precedence. */
export const EXCLUSION_REASONS = Object.keys(EXCLUSIONS) as ExclusionReason[]

/** Makes a record with a value for each reason. */
export const byExclusion = <Value>(valueFor: (reason: ExclusionReason) => Value) =>
  Object.fromEntries(EXCLUSION_REASONS.map((reason) => [reason, valueFor(reason)])) as Record<ExclusionReason, Value>
