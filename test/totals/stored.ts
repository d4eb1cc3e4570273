import { plain } from './decimal.ts'
import type { Query } from './raw.ts'
import { AMOUNTS, PAIRS, type Totals } from './totals.ts'

const run = `r.experiment_id || '/' || r.number as run`
const ms = (column: string) => `(extract(epoch from ${column}) * 1000)::float8`
const counts = (names: string) =>
  names
    .split(' ')
    .map((name) => `x.${name}::float8 as ${name}`)
    .join(', ')
const decimals = (names: string) =>
  names
    .split(' ')
    .map((name) => `x.${name}::text as ${name}`)
    .join(', ')
const cell = `${run}, x.period, x.variant_id as variant, x.dimension, x.dimension_value`
const ofMeasure = `join measures m on m.id = x.measure_id`
const amounts = AMOUNTS.join(' ')
const products = PAIRS.map(([one, other]) => `${one}_${other}`)

const STATEMENTS: Record<keyof Totals, string> = {
  unit: `select ${run}, x.user_id as user, x.variant_id as variant, x.period, ${ms('x.exposed_at')} as exposed_at,
    x.is_external, x.excluded_reason, x.claims_other, x.exposed_by, coalesce(x.dimensions, '{}')::text as dimensions
    from units x join runs r on r.id = x.run_id`,
  unit_metric: `select ${run}, x.user_id as user, m.key as measure, ${counts('events unusable missing')}, ${decimals(amounts)},
    x.exposing, ${ms('x.first_at')} as first_at, ${ms('x.last_at')} as last_at,
    to_json(x.numbers)::text as numbers
    from unit_metrics x join runs r on r.id = x.run_id ${ofMeasure}`,
  user_day: `select x.user_id as user, t.name as type, x.day::text as day, ${counts('events unusable')}, ${decimals('value')}
    from user_days x join event_types t on t.id = x.type_id`,
  variant_units: `select ${cell},
    ${counts('assigned drawn drawn_exposed users externally_decided crossovers overridden claimed_other excluded_by_hand excluded_by_attribute excluded_by_rate')}
    from variant_units x join runs r on r.id = x.run_id`,
  exposure_hour: `select ${run}, x.variant_id as variant, x.period, ${ms('x.hour')} as hour, ${counts('users crossovers')}
    from exposure_hours x join runs r on r.id = x.run_id`,
  variant_metric: `select ${cell}, m.key as measure, x.is_crossover, ${counts('users exposing unusable missing')},
    ${decimals(['events', amounts, ...products].join(' '))}
    from variant_metrics x join runs r on r.id = x.run_id ${ofMeasure}`,
  event_quarter: `select x.experiment_id as experiment, to_char(x.quarter at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI') as quarter,
    x.variant_id as variant, t.name as type, ${counts('events')}, ${decimals('value')}
    from event_quarters x join event_types t on t.id = x.type_id`,
}

const DECIMALS = ['value', ...AMOUNTS, ...products]

/** Reads the stored totals. */
export async function readTotals(query: Query): Promise<Totals> {
  const tables = Object.keys(STATEMENTS) as (keyof Totals)[]
  const read = async (table: keyof Totals) => {
    const rows = await query<Record<string, unknown>>(STATEMENTS[table])
    return [table, rows.map((row) => ({ ...row, ...written(row) }))]
  }
  const entries = []
  for (const table of tables) entries.push(await read(table))
  return Object.fromEntries(entries)
}

/** Writes decimals, numbers and dimensions as the recomputation writes them. */
function written(row: Record<string, unknown>) {
  const fields = Object.entries(row).flatMap(([name, value]) => {
    if (name === 'numbers') return [[name, sortedNumbers(JSON.parse(String(value)))]]
    if (name === 'dimensions') return [[name, sortedJson(JSON.parse(String(value)))]]
    return DECIMALS.includes(name) || (name === 'events' && typeof value === 'string')
      ? [[name, plain(String(value))]]
      : []
  })
  return Object.fromEntries(fields)
}

const sortedNumbers = (numbers: number[] | null) => (numbers ?? []).sort((one, other) => one - other).join(' ')

export const sortedJson = (object: Record<string, string>) =>
  JSON.stringify(Object.fromEntries(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1))))
