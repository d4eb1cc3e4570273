import { type RawBuilder, sql } from 'kysely'
import { EXCLUSIONS } from '../analysis/exclusions.ts'
import { snakeCase } from '../analysis/snake-case.ts'
import type { CrossoverRule } from '../analysis/statistics.ts'
import type { Counter } from '../analysis/sums.ts'
import {
  type ExclusionColumn,
  PRODUCT_COLUMNS,
  TOTAL_COLUMNS,
  UNIT_COUNT_COLUMNS,
  UNIT_METRIC_AMOUNTS,
  type UnitCountColumn,
} from './columns.ts'
import { columns } from './counting.ts'

/** Adds up rows of persons to the totals of variants. Functions make parts of a statement. */

/** Repeats each row `x` once for all users (dimension ''), and once for each dimension that has a value in the row. */
export const dimensionsOf = (x: string) => sql`cross join lateral (
  select '' as dimension, '' as dimension_value
  union all select d.key, d.value from jsonb_each_text(coalesce(${sql.ref(`${x}.dimensions`)}, '{}')) d) d`

/** The condition that a unit is excluded as a crossover, and for no other reason. */
export const isCrossover = (u: string) => sql`${sql.ref(`${u}.excluded_reason`)} is not distinct from 'crossover'`

/** The condition that a unit counts: the person met a variant and is not excluded. */
export const isCounted = (u: string, crossovers: CrossoverRule) => sql`${sql.ref(`${u}.exposed_at`)} is not null
  and (${sql.ref(`${u}.excluded_reason`)} is null ${crossovers === 'first' ? sql`or ${isCrossover(u)}` : sql``})`

/** The condition on rows `x` of units for each column of `variant_units`. */
const IS_COUNTED_AS: Record<Exclude<UnitCountColumn, ExclusionColumn>, RawBuilder<unknown>> = {
  assigned: sql`true`,
  drawn: sql`not x.is_external`,
  drawn_exposed: sql`not x.is_external and x.exposed_at is not null`,
  users: isCounted('x', 'exclude'),
  externally_decided: sql`x.exposed_at is not null and x.is_external`,
  claimed_other: sql`x.exposed_at is not null and x.claims_other`,
}
const isExcludedFor = (reason: string) => sql`x.exposed_at is not null and x.excluded_reason = ${sql.lit(reason)}`
const IS_COUNTED_IN = new Map<string, RawBuilder<unknown>>([
  ...Object.entries(IS_COUNTED_AS),
  ...Object.entries(EXCLUSIONS).map(([reason, name]) => [snakeCase(name), isExcludedFor(reason)] as const),
])
/** The columns of `variant_units`, over rows `x` of units. */
const unitCounts = sql.join(
  UNIT_COUNT_COLUMNS.map((name) => sql`count(*) filter (where ${IS_COUNTED_IN.get(name)}) as ${sql.ref(name)}`),
)

const COUNTED: Record<Counter, RawBuilder<unknown>> = {
  users: sql`count(*) filter (where x.events > 0)`,
  exposing: sql`count(*) filter (where x.events > 0 and x.exposing)`,
  events: sql`sum(x.events)`,
  unusable: sql`sum(x.unusable)`,
  missing: sql`sum(x.missing)`,
}
const PRODUCTS = new Map<string, (typeof PRODUCT_COLUMNS)[number]>(
  PRODUCT_COLUMNS.map((product) => [product.column, product]),
)
function totalOf(name: string) {
  if (name in COUNTED) return COUNTED[name as Counter]
  const product = PRODUCTS.get(name)
  return product
    ? sql`sum(${sql.ref(`x.${product.one}`)} * ${sql.ref(`x.${product.other}`)})`
    : sql`sum(${sql.ref(`x.${name}`)})`
}
/** The columns of `variant_metrics`, over rows `x` of units with their amounts. */
const metricSums = sql.join(TOTAL_COLUMNS.map((name) => sql`${totalOf(name)} as ${sql.ref(name)}`))

const CELL = sql`x.run_id, x.period, x.variant_id, d.dimension, d.dimension_value`
const GROUP = sql`x.sign, x.run_id, x.period, x.variant_id, x.dimensions`
const signed = (names: readonly string[]) =>
  sql.join(names.map((name) => sql`sum(x.sign * ${sql.ref(`x.${name}`)}) as ${sql.ref(name)}`))

/**
 * Adds up signed rows of units to rows of `variant_units`. Rows with the same dimensions are added up first, so that
 * each group, and not each row, is repeated for every dimension and multiplied by its sign.
 */
export const unitTotals = (rows: RawBuilder<unknown>) => sql`
  select ${CELL}, ${signed(UNIT_COUNT_COLUMNS)}
  from (select ${GROUP}, ${unitCounts} from (${rows}) x group by ${GROUP}) x ${dimensionsOf('x')} group by ${CELL}`

/** Adds up signed rows of units with their amounts to rows of `variant_metrics`, likewise. */
export const metricTotals = (rows: RawBuilder<unknown>) => sql`
  select ${CELL}, x.is_crossover, x.measure_id, ${signed(TOTAL_COLUMNS)}
  from (
    select ${GROUP}, x.is_crossover, x.measure_id, ${metricSums}
    from (${rows}) x group by ${GROUP}, x.is_crossover, x.measure_id) x
  ${dimensionsOf('x')} group by ${CELL}, x.is_crossover, x.measure_id`

/** Selects rows of units from a CTE, each with this sign. */
export const signedUnits = (sign: 1 | -1, units: 'fresh_unit' | 'stored_unit') => sql`
  select ${sql.lit(sign)} as sign, u.run_id, u.period, u.variant_id, u.dimensions, u.is_external, u.exposed_at,
    u.excluded_reason,
    u.claims_other
  from ${sql.table(units)} u`
/** The beginning of the hour, in UTC, that a time lies in. */
export const hourOf = (time: RawBuilder<unknown>) => sql`date_bin('1 hour', ${time}, '2000-01-01T00:00:00Z')`

/**
 * Selects the amounts of the units that count, and of crossovers, from a pair of CTEs, each row with this sign.
 * @param which a further condition on the unit `u` and its amounts `m`
 */
export const signedMetrics = (
  sign: 1 | -1,
  units: 'fresh_unit' | 'stored_unit',
  metrics: 'fresh_metric' | 'stored_metric',
  which: RawBuilder<unknown> = sql`true`,
) => sql`
  select ${sql.lit(sign)} as sign, u.run_id, u.period, u.variant_id, u.dimensions, m.measure_id,
    ${isCrossover('u')} as is_crossover, ${columns(UNIT_METRIC_AMOUNTS, 'm')}
  from ${sql.table(units)} u join ${sql.table(metrics)} m on m.user_id = u.user_id and m.run_id = u.run_id
  where ${isCounted('u', 'first')} and ${which}`

/** Adds up signed rows of units that count, and of crossovers, to rows of `exposure_hours`. */
export const hourTotals = (rows: RawBuilder<unknown>) => sql`
  select x.run_id, ${hourOf(sql`x.exposed_at`)} as hour, x.variant_id, x.period,
    coalesce(sum(x.sign) filter (where ${isCounted('x', 'exclude')}), 0)::bigint as users,
    coalesce(sum(x.sign) filter (where ${isCrossover('x')}), 0)::bigint as crossovers
  from (${rows}) x where ${isCounted('x', 'first')} group by 1, 2, 3, 4`

const changedUnits = sql`${signedUnits(1, 'fresh_unit')} union all ${signedUnits(-1, 'stored_unit')}`
/** The changes of `variant_units`, `exposure_hours` and `variant_metrics`: recounted units minus stored ones. */
export const unitChanges = unitTotals(changedUnits)
export const hourChanges = hourTotals(changedUnits)
export const metricChanges = metricTotals(sql`
  ${signedMetrics(1, 'fresh_unit', 'fresh_metric')}
  union all ${signedMetrics(-1, 'stored_unit', 'stored_metric')}`)
