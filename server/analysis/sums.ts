/** Names the figures of a variant's users in one metric. All other lists of these names are derived from this one. */

/** The amounts of a user: a numerator, a denominator (0 where the metric has none), and both before the exposure. */
export const AMOUNTS = ['num', 'den', 'preNum', 'preDen'] as const
type Amount = (typeof AMOUNTS)[number]

/** The products of any two amounts of a user: `numNum`, `numDen`, `numPreNum`, `numPreDen`, `denDen`, … */
type Products<Names extends readonly string[]> = Names extends readonly [
  infer First extends string,
  ...infer Others extends readonly string[],
]
  ? `${First}${Capitalize<Names[number]>}` | Products<Others>
  : never
type Product = Products<typeof AMOUNTS>
export const PRODUCTS = AMOUNTS.flatMap((one, index) =>
  AMOUNTS.slice(index).map((other) => ({
    name: `${one}${other.slice(0, 1).toUpperCase()}${other.slice(1)}` as Product,
    one,
    other,
  })),
)

/**
 * `users` have an event; `exposing` of these users were exposed by such an event; `events` counts their events, and
 * `unusable` the events whose property is not a usable number, and `missing` the events without the property.
 */
export const COUNTERS = ['users', 'exposing', 'events', 'unusable', 'missing'] as const
export type Counter = (typeof COUNTERS)[number]

/** Sums over users of the amounts, and of the products of any two amounts. */
export type Sums = Record<Amount | Product, number>
export const SUMS: readonly (Amount | Product)[] = [...AMOUNTS, ...PRODUCTS.map(({ name }) => name)]

/** All figures that totals hold of a metric in a variant and allocation period. */
export type Totals = Record<Counter, number> & Sums
export const TOTALS: readonly (Counter | Amount | Product)[] = [...COUNTERS, ...SUMS]

function filled<Name extends string>(names: readonly Name[], figureOf: (name: Name) => number) {
  const figures = {} as Record<Name, number>
  for (const name of names) figures[name] = figureOf(name)
  return figures
}

export const NO_SUMS: Sums = filled(SUMS, () => 0)
export const NO_TOTALS: Totals = filled(TOTALS, () => 0)

export const pickSums = (figureOf: (name: Amount | Product) => number): Sums => filled(SUMS, figureOf)
export const pickTotals = (figureOf: (name: Counter | Amount | Product) => number): Totals => filled(TOTALS, figureOf)

export const addSums = (one: Sums, other: Sums): Sums => pickSums((name) => one[name] + other[name])
export const addTotals = (one: Totals, other: Totals): Totals => pickTotals((name) => one[name] + other[name])
