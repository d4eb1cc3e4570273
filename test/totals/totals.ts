/** Totals in the form in which tests compare stored and recomputed ones. */
export type Totals = {
  unit: UnitRow[]
  unit_metric: UnitMetricRow[]
  user_day: UserDayRow[]
  variant_units: VariantUnitsRow[]
  exposure_hour: ExposureHourRow[]
  variant_metric: VariantMetricRow[]
  event_quarter: EventQuarterRow[]
}

/**
 * A row of `units`. A run is written as experiment and number, such as `3/1`; times are in milliseconds since 1970, and
 * decimals are text without trailing zeros.
 */
export type UnitRow = {
  run: string
  user: string
  variant: number
  period: number
  exposed_at: number | null
  is_external: boolean
  excluded_reason: string | null
  claims_other: boolean
  exposed_by: string | null
  /** JSON, sorted by name. */
  dimensions: string
}
export type Sums = { events: number; value: string; unusable: number }
/** A row of `unit_metrics`. A measure is given by its key. */
type UnitMetricRow = {
  run: string
  user: string
  measure: string
  events: number
  unusable: number
  missing: number
  exposing: boolean
} & Amounts & {
    first_at: number | null
    last_at: number | null
    /** The kept numbers of the events in ascending order, with blanks in between; empty where none are kept. */
    numbers: string
  }
export const AMOUNTS = ['num', 'den', 'pre_num', 'pre_den'] as const
export type Amounts = Record<(typeof AMOUNTS)[number], string>
/** All pairs of amounts. */
export const PAIRS = AMOUNTS.flatMap((one, index) => AMOUNTS.slice(index).map((other) => [one, other] as const))
type UserDayRow = { user: string; type: string; day: string } & Sums
export type Cell = { run: string; period: number; variant: number; dimension: string; dimension_value: string }
export type VariantUnitsRow = Cell & {
  assigned: number
  drawn: number
  drawn_exposed: number
  users: number
  externally_decided: number
  crossovers: number
  overridden: number
  claimed_other: number
  excluded_by_hand: number
  excluded_by_attribute: number
  excluded_by_rate: number
}
/** A row of `exposure_hours`: the counted users of a variant who were exposed in an hour. */
type ExposureHourRow = { run: string; variant: number; period: number; hour: number; users: number; crossovers: number }
/** A row of `variant_metrics`, with the sums of products, such as `num_pre_num`. */
export type VariantMetricRow = Cell & {
  measure: string
  is_crossover: boolean
  users: number
  exposing: number
  events: string
  unusable: number
  missing: number
} & Amounts &
  Record<string, string | number | boolean>
/** A row of `event_quarters`. Variant 0: the event names none. */
type EventQuarterRow = {
  experiment: number
  quarter: string
  variant: number
  type: string
  events: number
  value: string
}

/** The counts of each table: a row in which all counts are 0 may be missing. Tables without counts keep every row. */
const COUNTS: Record<keyof Totals, readonly string[]> = {
  unit: [],
  unit_metric: [],
  user_day: ['events', 'value', 'unusable'],
  variant_units:
    'assigned drawn drawn_exposed users externally_decided crossovers overridden claimed_other excluded_by_hand excluded_by_attribute excluded_by_rate'.split(
      ' ',
    ),
  exposure_hour: ['users', 'crossovers'],
  variant_metric: [
    ...['users', 'exposing', 'events', 'unusable', 'missing', ...AMOUNTS],
    ...PAIRS.map(([one, other]) => `${one}_${other}`),
  ],
  event_quarter: ['events', 'value'],
}

/** Writes one line for each row with a count above 0, sorted. */
export function linesOf(totals: Totals): string[] {
  const lines: string[] = []
  for (const [table, rows] of Object.entries(totals) as [keyof Totals, Record<string, unknown>[]][])
    for (const row of rows) {
      const counts = COUNTS[table]
      if (counts.length > 0 && counts.every((count) => Number(row[count]) === 0)) continue
      const fields = Object.keys(row).sort()
      lines.push(`${table}: ${fields.map((field) => `${field} ${row[field]}`).join(', ')}`)
    }
  return lines.sort()
}

/**
 * Selects and rewrites the lines that must not depend on the order of arrival. Random ids replace erased ids, so the
 * ids differ between two databases. An event that names an experiment and no variant is stored with the variant that
 * its user had on arrival, so quarters of an hour are left out.
 */
export const ofAnyOrder = (lines: readonly string[]) =>
  lines
    .filter((line) => !line.startsWith('event_quarter'))
    .map((line) => line.replace(/erased_[0-9a-f-]{36}/g, 'erased'))
    .sort()

/** Lists lines that only one side has: `- …` is expected and missing, `+ …` is unexpected. */
export function differences(expected: readonly string[], actual: readonly string[]): string[] {
  const left = new Map<string, number>()
  for (const line of expected) left.set(line, (left.get(line) ?? 0) + 1)
  for (const line of actual) left.set(line, (left.get(line) ?? 0) - 1)
  return [...left]
    .filter(([, count]) => count !== 0)
    .map(([line, count]) => `${count > 0 ? '-' : '+'} ${line}`)
    .sort((a, b) => (a.slice(2) < b.slice(2) ? -1 : 1))
}
