const TOLERANCE = 1e-9
const MOST = 20

/** These fields depend on the process or on the moment, not on what is stored. */
const OF_THE_MOMENT = new Set(['engine_version', 'milliseconds', 'last_used_at', 'days_left'])
/** Sentences for people. Their wording may improve; how many there are may not change. */
const SENTENCES = new Set(['reasons', 'warnings', 'causes', 'detail'])

/**
 * Compares an answer with the one that was recorded from an older version. Fields that came later are left out; figures may
 * differ by rounding; a run that was settling then may be frozen by now.
 * @returns the paths where they differ, with both values; the first few only
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
    for (const [field, value] of Object.entries(before)) compare(value, now[field], field, `${path}.${field}`, found)
  } else if (!(isText && typeof before === 'string' ? typeof now === 'string' : isSame(before, now)))
    found.push(`${path}: ${JSON.stringify(before)} before, ${JSON.stringify(now)} now`)
}

const isFrozenSince = (before: unknown, now: unknown, key: string) =>
  (key === 'state' && before === 'settling' && now === 'frozen') ||
  (['frozen_at', 'data_through'].includes(key) && before === null && typeof now === 'string')

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isSame = (before: unknown, now: unknown) =>
  typeof before === 'number' && typeof now === 'number'
    ? Math.abs(before - now) <= TOLERANCE * Math.max(1, Math.abs(before))
    : before === now
