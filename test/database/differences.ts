const TOLERANCE = 1e-9
const MOST = 20

/** These fields depend on the process or on the time of the call, not on the stored data. */
const OF_THE_MOMENT = new Set(['engine_version', 'milliseconds', 'last_used_at', 'days_left'])
/** Fields with sentences for people. Their wording may change, but not the number of sentences. */
const SENTENCES = new Set(['reasons', 'warnings', 'causes', 'detail'])

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
  if (OF_THE_MOMENT.has(key) || isFrozenSince(before, now, key)) return
  const isText = SENTENCES.has(key)
  if (Array.isArray(before) && Array.isArray(now) && before.length === now.length) {
    if (isText) return
    for (const [index, item] of before.entries()) compare(item, now[index], '', `${path}.${index}`, found)
  } else if (isObject(before) && isObject(now)) {
    for (const [field, value] of Object.entries(before))
      if (
        !(field === 'source' && isReadFromTotalsSince(before, now)) &&
        !(field === 'sample_ratio' && hasMoved(before))
      )
        compare(value, now[field], field, `${path}.${field}`, found)
  } else if (!(isText && typeof before === 'string' ? typeof now === 'string' : isSame(before, now)))
    found.push(`${path}: ${JSON.stringify(before)} before, ${JSON.stringify(now)} now`)
}

const isFrozenSince = (before: unknown, now: unknown, key: string) =>
  (key === 'state' && before === 'settling' && now === 'frozen') ||
  (['frozen_at', 'data_through'].includes(key) && before === null && typeof now === 'string')

/** Totals keep the numbers of quantiles since version 0006. */
const isReadFromTotalsSince = (before: Record<string, unknown>, now: Record<string, unknown>) =>
  before.kind === 'quantile' && before.source === 'events' && now.source === 'users'

/** Crossovers stand under the variant that they were first assigned since version 0008: before, under the smallest id. */
const hasMoved = ({ crossovers }: Record<string, unknown>) => typeof crossovers === 'number' && crossovers > 0

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isSame = (before: unknown, now: unknown) =>
  typeof before === 'number' && typeof now === 'number'
    ? Math.abs(before - now) <= TOLERANCE * Math.max(1, Math.abs(before))
    : before === now
