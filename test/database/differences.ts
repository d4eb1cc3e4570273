const TOLERANCE = 1e-9
const MOST = 20

/** These fields depend on the process or on the time of the call, not on the stored data. */
const OF_THE_MOMENT = new Set(['engine_version', 'milliseconds', 'last_used_at', 'days_left'])
/** Fields with sentences for people. Their wording and their number may change. */
const SENTENCES = new Set(['reasons', 'warnings', 'causes', 'detail'])

/**
 * Since version 0007, the rules of testing and deciding are others: what is counted and compared stays, what is
 * concluded from it does not. These are the fields of a comparison that stay.
 */
const COMPARED = new Set(['variant_id', 'difference', 'periods_used', 'users_left_out'])
/** These fields are concluded, are given for one allocation period only, or are not given where a cap is 0. Quantiles count the events without a number, too. */
const CONCLUDED = new Set(['decision', 'sample_ratio', 'caps', 'small_sample', 'exact_p_value'])

/**
 * Compares an answer with the answer that an older version gave. The comparison ignores fields that were added later
 * and differences by rounding. A run that was settling then may be frozen by now.
 * @returns the first 20 differences, each with its path and both values
 */
export function differences(before: unknown, now: unknown): string[] {
  const found: string[] = []
  compare(before, now, '', '', found)
  return found.slice(0, MOST)
}

function compare(before: unknown, now: unknown, key: string, path: string, found: string[]) {
  if (OF_THE_MOMENT.has(key) || CONCLUDED.has(key) || isFrozenSince(before, now, key)) return
  if (isBeyondShares(before, now, key)) return
  if (SENTENCES.has(key)) return
  if (Array.isArray(before) && Array.isArray(now) && before.length === now.length) {
    for (const [index, item] of before.entries()) compare(item, now[index], '', `${path}.${index}`, found)
  } else if (isObject(before) && isObject(now)) {
    if (wasNotCounted(before)) return
    for (const [field, value] of Object.entries(before))
      if (
        !(field === 'source' && isReadFromTotalsSince(before, now)) &&
        !(isComparison(before) && !COMPARED.has(field)) &&
        !(field === 'variants' && before.kind === 'quantile')
      )
        compare(value, now[field], field, `${path}.${field}`, found)
  } else if (!isSame(before, now)) found.push(`${path}: ${JSON.stringify(before)} before, ${JSON.stringify(now)} now`)
}

const isFrozenSince = (before: unknown, now: unknown, key: string) =>
  (key === 'state' && before === 'settling' && now === 'frozen') ||
  (['frozen_at', 'data_through'].includes(key) && before === null && typeof now === 'string')

/** Totals keep the numbers of quantiles since version 0006. */
const isReadFromTotalsSince = (before: Record<string, unknown>, now: Record<string, unknown>) =>
  before.kind === 'quantile' && before.source === 'events' && now.source === 'users'

const isComparison = (value: Record<string, unknown>) => 'standard_error' in value && 'difference' in value

/** Before version 0010, a type first asked for after a run was frozen had no events, whatever was recorded. */
const wasNotCounted = ({ key, variants }: Record<string, unknown>) =>
  typeof key === 'string' &&
  key.startsWith('event:') &&
  Array.isArray(variants) &&
  variants.every(({ events }) => events === 0)

/** Since version 0013, the default of a flag has the reason SPLIT for a user beyond the shares of a rollout. */
const isBeyondShares = (before: unknown, now: unknown, key: string) =>
  key === 'reason' && before === 'STATIC' && now === 'SPLIT'

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isSame = (before: unknown, now: unknown) =>
  typeof before === 'number' && typeof now === 'number'
    ? Math.abs(before - now) <= TOLERANCE * Math.max(1, Math.abs(before))
    : before === now
