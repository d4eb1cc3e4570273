import { type RawBuilder, sql } from 'kysely'
import { EXCLUSIONS } from '../analysis/exclusions.ts'
import { snakeCase } from '../analysis/snake-case.ts'
import type { Counter } from '../analysis/sums.ts'
import {
  AMOUNT_COLUMNS,
  type ExclusionColumn,
  PRODUCT_COLUMNS,
  TOTAL_COLUMNS,
  UNIT_COUNT_COLUMNS,
  type UnitCountColumn,
} from './columns.ts'
import { columns } from './counting.ts'

/** How rows of people add up to the totals of variants, as parts of a statement. */

/** Rows `x` once for everybody, and once for each dimension that they have a value of. */
export const dimensionsOf = (x: string) => sql`cross join lateral (
  select '' as dimension, '' as dimension_value
  union all select d.key, d.value from jsonb_each_text(coalesce(${sql.ref(`${x}.dimensions`)}, '{}')) d) d`

/** People who count: they met a variant and nothing leaves them out. */
export const isCounted = (u: string) =>
  sql`${sql.ref(`${u}.exposed_at`)} is not null and ${sql.ref(`${u}.excluded_reason`)} is null`

/** Which people are counted in a column of `variant_units`, over rows `x` of units. */
const IS_COUNTED_AS: Record<Exclude<UnitCountColumn, ExclusionColumn>, RawBuilder<unknown>> = {
  assigned: sql`true`,
  drawn: sql`not x.is_external`,
  drawn_exposed: sql`not x.is_external and x.exposed_at is not null`,
  users: isCounted('x'),
  externally_decided: sql`x.exposed_at is not null and x.is_external`,
  claimed_other: sql`x.exposed_at is not null and x.claims_other`,
}
const isExcludedFor = (reason: string) => sql`x.exposed_at is not null and x.excluded_reason = ${sql.lit(reason)}`
const IS_COUNTED_IN = new Map<string, RawBuilder<unknown>>([
  ...Object.entries(IS_COUNTED_AS),
  ...Object.entries(EXCLUSIONS).map(([reason, name]) => [snakeCase(name), isExcludedFor(reason)] as const),
])
/** The sums for `variant_units`, over rows `x` with a sign of 1 or -1. */
const unitCounts = sql.join(
  UNIT_COUNT_COLUMNS.map(
    (name) => sql`coalesce(sum(x.sign) filter (where ${IS_COUNTED_IN.get(name)}), 0) as ${sql.ref(name)}`,
  ),
)

const COUNTED: Record<Counter, RawBuilder<unknown>> = {
  users: sql`coalesce(sum(x.sign) filter (where x.events > 0), 0)`,
  exposing: sql`coalesce(sum(x.sign) filter (where x.events > 0 and x.exposing), 0)`,
  events: sql`sum(x.sign * x.events)`,
  unusable: sql`sum(x.sign * x.unusable)`,
}
const PRODUCTS = new Map<string, (typeof PRODUCT_COLUMNS)[number]>(
  PRODUCT_COLUMNS.map((product) => [product.column, product]),
)
function totalOf(name: string) {
  if (name in COUNTED) return COUNTED[name as Counter]
  const product = PRODUCTS.get(name)
  if (!product) return sql`sum(x.sign * ${sql.ref(`x.${name}`)})`
  return sql`sum(x.sign * ${sql.ref(`x.${product.one}`)} * ${sql.ref(`x.${product.other}`)})`
}
/** The sums for `variant_metrics`, likewise. */
const metricSums = sql.join(TOTAL_COLUMNS.map((name) => sql`${totalOf(name)} as ${sql.ref(name)}`))

const CELL = sql`x.run_id, x.period, x.variant_id, d.dimension, d.dimension_value`

/** Rows of `variant_units` that signed rows of units make. */
export const unitTotals = (signed: RawBuilder<unknown>) => sql`
  select ${CELL}, ${unitCounts} from (${signed}) x ${dimensionsOf('x')} group by ${CELL}`

/** Rows of `variant_metrics` that signed rows of units, joined with what they did, make. */
export const metricTotals = (signed: RawBuilder<unknown>) => sql`
  select ${CELL}, x.measure_id, ${metricSums} from (${signed}) x ${dimensionsOf('x')} group by ${CELL}, x.measure_id`

/** Signed rows of units and of what those who count did, from a pair of CTEs. */
export const signedUnits = (sign: 1 | -1, units: 'fresh_unit' | 'stored_unit') => sql`
  select ${sql.lit(sign)} as sign, u.run_id, u.period, u.variant_id, u.dimensions, u.is_external, u.exposed_at,
    u.excluded_reason,
    u.claims_other
  from ${sql.table(units)} u`
export const signedMetrics = (
  sign: 1 | -1,
  units: 'fresh_unit' | 'stored_unit',
  metrics: 'fresh_metric' | 'stored_metric',
) => sql`
  select ${sql.lit(sign)} as sign, u.run_id, u.period, u.variant_id, u.dimensions, m.measure_id,
    ${columns(['events', 'unusable', ...AMOUNT_COLUMNS, 'exposing'], 'm')}
  from ${sql.table(units)} u join ${sql.table(metrics)} m on m.user_id = u.user_id and m.run_id = u.run_id
  where ${isCounted('u')}`

/** Rows of `variant_units` and of `variant_metrics` by which the fresh people differ from the stored ones. */
export const unitChanges = unitTotals(sql`${signedUnits(1, 'fresh_unit')} union all ${signedUnits(-1, 'stored_unit')}`)
export const metricChanges = metricTotals(sql`
  ${signedMetrics(1, 'fresh_unit', 'fresh_metric')}
  union all ${signedMetrics(-1, 'stored_unit', 'stored_metric')}`)
