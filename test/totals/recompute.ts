import { billionths, write } from './decimal.ts'
import type { Property, Raw, RawAssignment, RawEvent, RawMeasure, RawRun } from './raw.ts'
import { sortedJson } from './stored.ts'
import {
  AMOUNTS,
  type Amounts,
  type Cell,
  PAIRS,
  type Totals,
  type UnitRow,
  type VariantMetricRow,
  type VariantUnitsRow,
} from './totals.ts'

/**
 * Computes all totals from raw rows, one person after the other. The code is simple and slow, and shares nothing with
 * the platform. The totals that the platform keeps must equal these, to the last decimal.
 */
export function recompute(raw: Raw): Totals {
  const people = peopleOf(raw)
  const units = unitsOf(raw, people)
  const metrics = units.flatMap((unit) => metricsOf(raw, unit))
  return {
    unit: units.map(({ row }) => row),
    unit_metric: metrics.map(({ unit: { row }, measure, sums }) => ({
      run: row.run,
      user: row.user,
      measure,
      events: sums.events,
      unusable: sums.unusable,
      missing: sums.missing,
      exposing: sums.exposing,
      num: write(sums.num, 9),
      den: write(sums.den, 9),
      pre_num: write(sums.pre_num, 9),
      pre_den: write(sums.pre_den, 9),
      first_at: sums.first_at,
      last_at: sums.last_at,
      numbers: sums.numbers,
    })),
    user_day: userDaysOf(raw),
    variant_units: variantUnitsOf(units),
    exposure_hour: exposureHoursOf(units),
    variant_metric: variantMetricsOf(metrics),
    event_quarter: quartersOf(raw),
  }
}

/** A user with all aliases: the events under every id, in the order of time. */
type Person = { id: string; events: RawEvent[]; assignments: RawAssignment[] }

export function peopleOf(raw: Raw): Person[] {
  const people = new Map<string, Person>()
  const personOf = (userId: string) => {
    const id = raw.aliases.get(userId) ?? userId
    const person = people.get(id) ?? { id, events: [], assignments: [] }
    people.set(id, person)
    return person
  }
  for (const event of raw.events) personOf(event.user_id).events.push(event)
  for (const assignment of raw.assignments) personOf(assignment.user_id).assignments.push(assignment)
  for (const { events } of people.values()) events.sort((a, b) => a.at - b.at || a.id - b.id)
  return [...people.values()]
}

/** A person in a run. */
type CountedUnit = { run: RawRun; person: Person; row: UnitRow; dimensions: Record<string, string> }

export function unitsOf(raw: Raw, people: readonly Person[]): CountedUnit[] {
  return people.flatMap((person) =>
    raw.runs.flatMap((run) => {
      const assignments = person.assignments.filter((assignment) => assignment.run_id === run.id)
      return assignments.length === 0 ? [] : [unitOf(raw, run, person, assignments)]
    }),
  )
}

function unitOf(raw: Raw, run: RawRun, person: Person, assignments: readonly RawAssignment[]): CountedUnit {
  const exposed = assignments.filter(({ exposed_at }) => exposed_at !== null)
  const met = new Set(exposed.map(({ variant_id }) => variant_id))
  const isExternal = assignments.some(({ source }) => source === 'event')
  const has = (reason: string) => assignments.some(({ excluded_reason }) => excluded_reason === reason)
  const isMarked = assignments.some(
    ({ dimensions }) => dimensions.is_bot === 'true' || dimensions.is_internal === 'true',
  )
  const isExcludedByHand = assignments.some(({ user_id }) =>
    raw.excluded.some((row) => row.user_id === user_id && row.experiment_id === run.experiment_id),
  )
  const isCrossed = has('crossover') || met.size > 1
  const excluded = has('override')
    ? 'override'
    : isExcludedByHand
      ? 'hand'
      : isMarked
        ? 'attribute'
        : isBusy(raw, run, person)
          ? 'rate'
          : isCrossed
            ? 'crossover'
            : null
  const naming = person.events.filter((event) => isDuring(run, event) && namesVariantOf(run, event))
  const exposedAt = exposed.length > 0 ? Math.min(...exposed.map(({ exposed_at }) => exposed_at as number)) : null
  const earliest = exposed.reduce<RawAssignment | undefined>(
    (a, b) => (a && (a.exposed_at as number) <= (b.exposed_at as number) ? a : b),
    undefined,
  )
  // A person stands under the first assignment by which the person met a variant, else under the first one.
  const first = (exposed.length > 0 ? exposed : assignments).reduce((a, b) =>
    b.assigned_at < a.assigned_at || (b.assigned_at === a.assigned_at && b.user_id < a.user_id) ? b : a,
  )
  const exposing = new Set(naming.filter(({ at }) => at === exposedAt).map(({ type }) => type))
  return {
    run,
    person,
    dimensions: first.dimensions,
    row: {
      run: nameOf(run),
      user: person.id,
      // The variant that the earliest event named, where events decided.
      variant: first.first_variant_id ?? first.variant_id,
      period: first.period,
      exposed_at: exposedAt,
      is_external: isExternal,
      excluded_reason: excluded,
      claims_other:
        !isExternal && exposed.length > 0 && naming.some(({ variant_id }) => !met.has(variant_id as number)),
      exposed_by: earliest?.exposure_source === 'event' && exposing.size === 1 ? ([...exposing][0] ?? null) : null,
      dimensions: sortedJson(first.dimensions),
    },
  }
}

const nameOf = ({ experiment_id, number }: RawRun) => `${experiment_id}/${number}`
const isBeforeEnd = (run: RawRun, { at }: RawEvent) => run.ended_at === null || at < run.ended_at
const isDuring = (run: RawRun, event: RawEvent) => event.at >= run.started_at && isBeforeEnd(run, event)
const namesVariantOf = (run: RawRun, { experiment_id, variant_id }: RawEvent) =>
  experiment_id === run.experiment_id && variant_id !== null

/** Tells whether a person has more events on a day of the run than the experiment allows. */
function isBusy({ time_zone }: Raw, run: RawRun, { events }: Person): boolean {
  if (run.max_daily_events === null) return false
  const day = dayIn(time_zone)
  const counts = new Map<string, number>()
  for (const event of events)
    if (isDuring(run, event)) counts.set(day.format(event.at), (counts.get(day.format(event.at)) ?? 0) + 1)
  return Math.max(0, ...counts.values()) > run.max_daily_events
}

/** The value is in billionths. Values that are not usable numbers are counted. */
type Sum = { events: number; value: bigint; unusable: number }
const written = ({ events, value, unusable }: Sum) => ({ events, value: write(value, 9), unusable })

function sumOf(events: readonly RawEvent[]): Sum {
  const sum = { events: events.length, value: 0n, unusable: 0 }
  for (const event of events) {
    const value = numberOf(event, 'value')
    if (value === null) sum.unusable += event.properties.value ? 1 : 0
    else sum.value += value
  }
  return sum
}

/** Finds a property: the one with exactly this name, else the one that a dotted path leads to. */
function propertyOf({ properties }: RawEvent, name: string): Property | undefined {
  const [first, ...path] = name.split('.')
  const exact = properties[name]
  if (exact || path.length === 0) return exact
  const outer = properties[first as string]
  return outer && path.reduce<Property | undefined>(inside, outer)
}

function inside(outer: Property | undefined, name: string): Property | undefined {
  if (outer?.kind !== 'object') return undefined
  const found = JSON.parse(outer.text as string)[name]
  if (found === undefined) return undefined
  const kind = found === null ? 'null' : Array.isArray(found) ? 'array' : (typeof found as Property['kind'])
  return { kind, text: typeof found === 'string' ? found : JSON.stringify(found) }
}

/** Returns the number in a property, in billionths; null where it holds no usable number. */
function numberOf(event: RawEvent, property: string): bigint | null {
  const found = propertyOf(event, property)
  return found?.kind === 'number' ? billionths(found.text as string) : null
}

/** A person's amounts for a measure of a run, after the exposure and before it, in billionths. */
type CountedMetric = { unit: CountedUnit; measure: string; sums: PersonSums }
type PersonSums = {
  events: number
  unusable: number
  missing: number
  exposing: boolean
  num: bigint
  den: bigint
  pre_num: bigint
  pre_den: bigint
  first_at: number | null
  last_at: number | null
  numbers: string
}
const ONE = 1_000_000_000n

function metricsOf(raw: Raw, unit: CountedUnit): CountedMetric[] {
  if (unit.row.exposed_at === null) return []
  return raw.measures
    .filter((measure) => measure.run_id === unit.run.id)
    .flatMap((measure) => {
      const sums = sumsOfPerson(unit, measure)
      return sums ? [{ unit, measure: measure.key, sums }] : []
    })
}

function sumsOfPerson({ run, person, row }: CountedUnit, measure: RawMeasure): PersonSums | null {
  const exposedAt = row.exposed_at as number
  const until = measure.until_ms === null ? (run.ended_at ?? Infinity) : exposedAt + measure.until_ms
  const taken = measure.parts.flatMap((part) =>
    person.events
      .filter(
        (event) =>
          event.type === part.type &&
          (measure.any_tag || event.experiment_id === null || event.experiment_id === run.experiment_id) &&
          matches(part.filter, event),
      )
      .map((event) => ({ part, event })),
  )
  const after = taken.filter(({ event }) => event.at >= exposedAt + measure.from_ms && event.at < until)
  const before = taken.filter(({ event }) => event.at >= exposedAt - measure.before_ms && event.at < exposedAt)
  if (after.length + before.length === 0) return null
  const amount = (of: typeof taken, part: 1 | 2) => {
    const sum = of
      .filter((item) => item.part.part === part)
      .reduce((total, item) => total + amountOf(item.part, item.event), 0n)
    return measure.is_binary && part === 1 && sum > ONE ? ONE : sum
  }
  const counting = [...after, ...before]
  const main = after.filter(({ part }) => part.part === 1).map(({ event }) => event)
  return {
    events: main.length,
    unusable: after.filter(
      ({ part, event }) =>
        !part.is_count &&
        propertyOf(event, part.property as string) &&
        numberOf(event, part.property as string) === null,
    ).length,
    missing: after.filter(({ part, event }) => part.is_required && !propertyOf(event, part.property as string)).length,
    exposing: counting.some(({ part }) => part.type === row.exposed_by),
    num: amount(after, 1),
    den: amount(after, 2),
    pre_num: amount(before, 1),
    pre_den: amount(before, 2),
    first_at: main.length > 0 ? Math.min(...main.map(({ at }) => at)) : null,
    last_at: main.length > 0 ? Math.max(...main.map(({ at }) => at)) : null,
    numbers: measure.keeps_numbers ? numbersOf(main, measure.parts[0]?.property as string) : '',
  }
}

const numbersOf = (events: readonly RawEvent[], property: string) =>
  events
    .map((event) => numberOf(event, property))
    .filter((number) => number !== null)
    .map((number) => Number(write(number, 9)))
    .sort((one, other) => one - other)
    .join(' ')

function amountOf({ property, is_count }: RawMeasure['parts'][number], event: RawEvent): bigint {
  const number = property === null ? null : numberOf(event, property)
  if (!is_count) return number ?? 0n
  return property === null || number !== null ? ONE : 0n
}

/** Lists the values that a filter compares: the property, or each element of an array. */
const scalarsOf = (property: Property | undefined): unknown[] => {
  if (!property) return []
  if (property.kind === 'array') return JSON.parse(property.text as string)
  return [property.kind === 'number' ? Number(property.text) : property.text]
}

/** The meaning of the filters that scenarios use, by their compiled form. */
const FILTERS: Record<string, (event: RawEvent) => boolean> = {
  '$?(@."other" == 1)': ({ properties }) => scalarsOf(properties.other).includes(1),
  '$?(@."value" > 0)': ({ properties }) =>
    scalarsOf(properties.value).some((value) => typeof value === 'number' && value > 0),
  '$?(!(@."value" == "12") || (@."value" == "12") is unknown)': ({ properties }) =>
    !scalarsOf(properties.value).includes('12'),
}
function matches(filter: string | null, event: RawEvent): boolean {
  if (filter === null) return true
  const test = FILTERS[filter]
  if (!test) throw new Error(`The recomputation does not know the filter ${filter}: add its meaning to FILTERS`)
  return test(event)
}

/** Lists the events of a person that count in the run: they name its experiment or none, after the exposure. */
export const eventsOf = ({ run, person, row }: CountedUnit) =>
  person.events.filter(
    (event) =>
      row.exposed_at !== null &&
      event.at >= row.exposed_at &&
      isBeforeEnd(run, event) &&
      (event.experiment_id === null || event.experiment_id === run.experiment_id),
  )

/** Lists the cells in which a person counts: all users, and each dimension's value. */
const cellsOf = ({ row, dimensions }: CountedUnit): Cell[] =>
  [['', ''] as const, ...Object.entries(dimensions)].map(([dimension, dimension_value]) => ({
    run: row.run,
    period: row.period,
    variant: row.variant,
    dimension,
    dimension_value,
  }))

export const isAnalysed = ({ exposed_at, excluded_reason }: UnitRow) => exposed_at !== null && excluded_reason === null

/** Groups items by their keys, in the order in which the keys first appear. */
function group<Item, Key extends object>(items: readonly Item[], keysOf: (item: Item) => readonly Key[]) {
  const groups = new Map<string, { key: Key; items: Item[] }>()
  for (const item of items)
    for (const key of keysOf(item)) {
      const text = JSON.stringify(key)
      const members = groups.get(text) ?? { key, items: [] }
      members.items.push(item)
      groups.set(text, members)
    }
  return [...groups.values()]
}

function variantUnitsOf(units: readonly CountedUnit[]): VariantUnitsRow[] {
  return group(units, cellsOf).map(({ key, items }) => {
    const count = (counts: (row: UnitRow) => boolean) => items.filter(({ row }) => counts(row)).length
    const isExposed = (row: UnitRow) => row.exposed_at !== null
    return {
      ...key,
      assigned: items.length,
      drawn: count((row) => !row.is_external),
      drawn_exposed: count((row) => !row.is_external && isExposed(row)),
      users: count(isAnalysed),
      externally_decided: count((row) => isExposed(row) && row.is_external),
      crossovers: count((row) => isExposed(row) && row.excluded_reason === 'crossover'),
      overridden: count((row) => isExposed(row) && row.excluded_reason === 'override'),
      claimed_other: count((row) => isExposed(row) && row.claims_other),
      excluded_by_hand: count((row) => isExposed(row) && row.excluded_reason === 'hand'),
      excluded_by_attribute: count((row) => isExposed(row) && row.excluded_reason === 'attribute'),
      excluded_by_rate: count((row) => isExposed(row) && row.excluded_reason === 'rate'),
    }
  })
}

const HOUR_MS = 3_600_000

function exposureHoursOf(units: readonly CountedUnit[]): Totals['exposure_hour'] {
  const isCrossover = ({ row }: CountedUnit) => row.exposed_at !== null && row.excluded_reason === 'crossover'
  const analysed = units.filter((unit) => isAnalysed(unit.row) || isCrossover(unit))
  const keys = ({ row: { run, variant, period, exposed_at } }: CountedUnit) => [
    { run, variant, period, hour: Math.floor((exposed_at as number) / HOUR_MS) * HOUR_MS },
  ]
  return group(analysed, keys).map(({ key, items }) => ({
    ...key,
    users: items.filter(({ row }) => isAnalysed(row)).length,
    crossovers: items.filter(isCrossover).length,
  }))
}

function variantMetricsOf(metrics: readonly CountedMetric[]): VariantMetricRow[] {
  const isCrossover = ({ unit }: CountedMetric) => unit.row.excluded_reason === 'crossover'
  const added = metrics.filter((metric) => isAnalysed(metric.unit.row) || isCrossover(metric))
  const cells = (metric: CountedMetric) =>
    cellsOf(metric.unit).map((cell) => ({ ...cell, measure: metric.measure, is_crossover: isCrossover(metric) }))
  return group(added, cells).map(({ key, items }) => {
    const count = (counts: (sums: PersonSums) => boolean) => items.filter(({ sums }) => counts(sums)).length
    const total = (of: (sums: PersonSums) => bigint) => items.reduce((sum, { sums }) => sum + of(sums), 0n)
    const amounts = AMOUNTS.map((name) => [
      name,
      write(
        total((sums) => sums[name]),
        9,
      ),
    ])
    const products = PAIRS.map(([one, other]) => [
      `${one}_${other}`,
      write(
        total((sums) => sums[one] * sums[other]),
        18,
      ),
    ])
    return {
      ...key,
      users: count(({ events }) => events > 0),
      exposing: count(({ events, exposing }) => events > 0 && exposing),
      events: String(total(({ events }) => BigInt(events))),
      unusable: Number(total(({ unusable }) => BigInt(unusable))),
      missing: Number(total(({ missing }) => BigInt(missing))),
      ...(Object.fromEntries([...amounts, ...products]) as Amounts),
    }
  })
}

// The locale en-CA writes a day in ISO 8601.
const dayIn = (timeZone: string) => new Intl.DateTimeFormat('en-CA', { timeZone })

function userDaysOf(raw: Raw): Totals['user_day'] {
  const day = dayIn(raw.time_zone)
  const keys = ({ user_id, type, at }: RawEvent) => [{ user: user_id, type, day: day.format(at) }]
  return group(raw.events, keys).map(({ key, items }) => ({ ...key, ...written(sumOf(items)) }))
}

const QUARTER_MS = 15 * 60_000

function quartersOf(raw: Raw): Totals['event_quarter'] {
  const keys = ({ experiment_id, variant_id, type, at }: RawEvent) =>
    experiment_id === null
      ? []
      : [
          {
            experiment: experiment_id,
            quarter: new Date(Math.floor(at / QUARTER_MS) * QUARTER_MS).toISOString().slice(0, 16),
            variant: variant_id ?? 0,
            type,
          },
        ]
  return group(raw.events, keys).map(({ key, items }) => {
    const { events, value } = written(sumOf(items))
    return { ...key, events, value }
  })
}
