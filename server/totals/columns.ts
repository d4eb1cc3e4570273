import { EXCLUSIONS, type ExclusionCount } from '../analysis/exclusions.ts'
import { type SnakeCase, snakeCase } from '../analysis/snake-case.ts'
import { AMOUNTS, PRODUCTS, SUMS, TOTALS } from '../analysis/sums.ts'
import type { MeasureDefinition, MeasurePart } from '../metrics/measure-definition.ts'

/** Lists every column of the tables of totals once. Entities, statements and answers are made of these lists. */

const columnsOf = <Name extends string>(names: readonly Name[]) => names.map((name) => snakeCase(name))

/** The columns of `measures` after its key, with their types in record sets. */
export const MEASURE_COLUMNS = {
  is_binary: 'boolean',
  from_ms: 'bigint',
  until_ms: 'bigint',
  before_ms: 'bigint',
  any_tag: 'boolean',
  keeps_numbers: 'boolean',
} as const satisfies Record<keyof Omit<MeasureDefinition, 'parts'>, string>
export type MeasureColumn = keyof typeof MEASURE_COLUMNS

/** The columns of `measure_parts` after the measure, with their types in record sets. A filter is cast to jsonpath. */
export const PART_COLUMNS = {
  part: 'int',
  type: 'text',
  filter: 'text',
  property: 'text',
  is_count: 'boolean',
  reads: 'text[]',
  is_required: 'boolean',
} as const satisfies Record<keyof MeasurePart, string>
export type PartColumn = keyof typeof PART_COLUMNS

/** The columns of the amounts of a person in a measure. */
export const AMOUNT_COLUMNS = columnsOf(AMOUNTS)
export type AmountColumn = (typeof AMOUNT_COLUMNS)[number]
/** The columns of `unit_metrics`. */
export const UNIT_METRIC_COLUMNS = [
  'user_id',
  'run_id',
  'measure_id',
  'events',
  'unusable',
  'missing',
  ...AMOUNT_COLUMNS,
  'exposing',
  'first_at',
  'last_at',
  'numbers',
] as const

/** The columns of `unit_metrics` that are added up to the totals of variants. */
export const UNIT_METRIC_AMOUNTS = ['events', 'unusable', 'missing', ...AMOUNT_COLUMNS, 'exposing'] as const

/** The columns of `units`. */
export const UNIT_COLUMNS = [
  'user_id',
  'run_id',
  'variant_id',
  'period',
  'exposed_at',
  'is_external',
  'excluded_reason',
  'claims_other',
  'exposed_by',
  'dimensions',
] as const

/** The key of `variant_units`. */
export const CELL_COLUMNS = ['run_id', 'period', 'variant_id', 'dimension', 'dimension_value'] as const
/** The key of `variant_metrics`. */
export const METRIC_CELL_COLUMNS = [...CELL_COLUMNS, 'is_crossover', 'measure_id'] as const

export type ExclusionColumn = SnakeCase<ExclusionCount>
export const EXCLUSION_COLUMNS = columnsOf(Object.values(EXCLUSIONS))
/** The columns of `variant_units` after its key. */
export const UNIT_COUNT_COLUMNS = [
  'assigned',
  'drawn',
  'drawn_exposed',
  'users',
  'externally_decided',
  'claimed_other',
  ...EXCLUSION_COLUMNS,
] as const
export type UnitCountColumn = (typeof UNIT_COUNT_COLUMNS)[number]

/** The key of `exposure_hours`. */
export const HOUR_COLUMNS = ['run_id', 'hour', 'variant_id', 'period'] as const
/** The columns of `exposure_hours` after its key. */
export const HOUR_COUNT_COLUMNS = ['users', 'crossovers'] as const

/** The columns of `variant_metrics` that hold sums of amounts or of products of amounts. */
export const SUM_COLUMNS = columnsOf(SUMS)
export type SumColumn = (typeof SUM_COLUMNS)[number]
/** The columns of the products, each with the columns of its two amounts. */
export const PRODUCT_COLUMNS = PRODUCTS.map(({ name, one, other }) => ({
  column: snakeCase(name),
  one: snakeCase(one),
  other: snakeCase(other),
}))
/** The columns of `variant_metrics` after its key. */
export const TOTAL_COLUMNS = columnsOf(TOTALS)
/** The column of each figure of a metric. */
export const columnOf = Object.fromEntries(TOTALS.map((name) => [name, snakeCase(name)])) as {
  [Name in (typeof TOTALS)[number]]: SnakeCase<Name>
}
export type TotalColumn = (typeof TOTAL_COLUMNS)[number]
