import { billionths, write } from './decimal.ts'
import type { Raw, RawAssignment, RawEvent, RawRun } from './raw.ts'
import { sortedJson } from './stored.ts'
import type { Cell, Totals, UnitRow, VariantMetricRow, VariantUnitsRow } from './totals.ts'

/**
 * What the totals mean: everything counted anew from what is recorded, one person after the other, without a thought of
 * speed. Whatever the platform keeps up while events come in must be this, to the last decimal.
 */
export function recompute(raw: Raw): Totals {
  const people = peopleOf(raw)
  const units = unitsOf(raw, people)
  const metrics = units.flatMap((unit) => metricsOf(raw, unit))
  return {
    unit: units.map(({ row }) => row),
    unit_metric: metrics.map(({ unit: { row }, type, sums }) => ({
      ...{ run: row.run, user: row.user, type },
      ...written(sums),
      first_at: sums.first_at,
      last_at: sums.last_at,
    })),
    user_day: userDaysOf(raw),
    variant_units: variantUnitsOf(units),
    variant_metric: variantMetricsOf(metrics),
    event_quarter: quartersOf(raw),
  }
}

/** A user with all aliases: the events of every id, by time. */
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
export type CountedUnit = { run: RawRun; person: Person; row: UnitRow; dimensions: Record<string, string> }

export function unitsOf(raw: Raw, people: readonly Person[]): CountedUnit[] {
  return people.flatMap((person) =>
    raw.runs.flatMap((run) => {
      const assignments = person.assignments.filter((assignment) => assignment.run_id === run.id)
      return assignments.length === 0 ? [] : [unitOf(run, person, assignments)]
    }),
  )
}

function unitOf(run: RawRun, person: Person, assignments: readonly RawAssignment[]): CountedUnit {
  const exposed = assignments.filter(({ exposed_at }) => exposed_at !== null)
  const met = new Set(exposed.map(({ variant_id }) => variant_id))
  const isExternal = assignments.some(({ source }) => source === 'event')
  const has = (reason: string) => assignments.some(({ excluded_reason }) => excluded_reason === reason)
  const excluded = has('override') ? 'override' : has('crossover') || met.size > 1 ? 'crossover' : null
  const naming = person.events.filter((event) => isDuring(run, event) && namesVariantOf(run, event))
  const least = Math.min(...(exposed.length > 0 ? exposed : assignments).map(({ variant_id }) => variant_id))
  const first = assignments.reduce((a, b) =>
    b.assigned_at < a.assigned_at || (b.assigned_at === a.assigned_at && b.user_id < a.user_id) ? b : a,
  )
  return {
    run,
    person,
    dimensions: first.dimensions,
    row: {
      run: nameOf(run),
      user: person.id,
      variant: isExternal && excluded === 'crossover' ? firstNamed(assignments) : least,
      period: first.period,
      exposed_at: exposed.length > 0 ? Math.min(...exposed.map(({ exposed_at }) => exposed_at as number)) : null,
      is_external: isExternal,
      excluded_reason: excluded,
      claims_other:
        !isExternal && exposed.length > 0 && naming.some(({ variant_id }) => !met.has(variant_id as number)),
      dimensions: sortedJson(first.dimensions),
    },
  }
}

const nameOf = ({ experiment_id, number }: RawRun) => `${experiment_id}/${number}`
const isBeforeEnd = (run: RawRun, { at }: RawEvent) => run.ended_at === null || at < run.ended_at
const isDuring = (run: RawRun, event: RawEvent) => event.at >= run.started_at && isBeforeEnd(run, event)
const namesVariantOf = (run: RawRun, { experiment_id, variant_id }: RawEvent) =>
  experiment_id === run.experiment_id && variant_id !== null

/** Who is seen with two variants, decided elsewhere, counts in the one that is named first by time. */
function firstNamed(assignments: readonly RawAssignment[]): number {
  const earliest = Math.min(...assignments.map(({ assigned_at }) => assigned_at))
  const first = assignments.filter(({ assigned_at }) => assigned_at === earliest)
  return Math.min(...first.map(({ first_variant_id, variant_id }) => first_variant_id ?? variant_id))
}

/** Values in billionths; those that no metric reads are counted as unusable. */
type Sum = { events: number; value: bigint; unusable: number }
const written = ({ events, value, unusable }: Sum) => ({ events, value: write(value, 9), unusable })

function sumOf(events: readonly RawEvent[]): Sum {
  const sum = { events: events.length, value: 0n, unusable: 0 }
  for (const { value_kind, value_text } of events) {
    if (value_kind === null) continue
    const value = value_kind === 'number' ? billionths(value_text as string) : null
    if (value === null) sum.unusable++
    else sum.value += value
  }
  return sum
}

/** What a person did for a metric of a run: from the exposure on, and before the run's end. */
type CountedMetric = { unit: CountedUnit; type: string; sums: Sum & { first_at: number; last_at: number } }

function metricsOf(raw: Raw, unit: CountedUnit): CountedMetric[] {
  const { run, row } = unit
  return raw.metrics
    .filter((metric) => metric.run_id === run.id)
    .flatMap(({ type }) => {
      const events = eventsOf(unit).filter((event) => event.type === type)
      const [first, last] = [events.at(0), events.at(-1)]
      if (row.exposed_at === null || !first || !last) return []
      return [{ unit, type, sums: { ...sumOf(events), first_at: first.at, last_at: last.at } }]
    })
}

/** The events of a person that count in the run: those that name its experiment or none. */
export const eventsOf = ({ run, person, row }: CountedUnit) =>
  person.events.filter(
    (event) =>
      row.exposed_at !== null &&
      event.at >= row.exposed_at &&
      isBeforeEnd(run, event) &&
      (event.experiment_id === null || event.experiment_id === run.experiment_id),
  )

/** Where a person counts: among everybody, and by each dimension. */
const cellsOf = ({ row, dimensions }: CountedUnit): Cell[] =>
  [['', ''] as const, ...Object.entries(dimensions)].map(([dimension, dimension_value]) => ({
    ...{ run: row.run, period: row.period, variant: row.variant },
    ...{ dimension, dimension_value },
  }))

export const isAnalysed = ({ exposed_at, excluded_reason }: UnitRow) => exposed_at !== null && excluded_reason === null

/** What is grouped by key, in the order in which the keys came up. */
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
    }
  })
}

function variantMetricsOf(metrics: readonly CountedMetric[]): VariantMetricRow[] {
  const analysed = metrics.filter(({ unit }) => isAnalysed(unit.row))
  const cells = ({ unit, type }: CountedMetric) => cellsOf(unit).map((cell) => ({ ...cell, type }))
  return group(analysed, cells).map(({ key, items }) => {
    const total = (of: (sums: Sum) => bigint) => items.reduce((sum, { sums }) => sum + of(sums), 0n)
    return {
      ...key,
      users: items.length,
      events: write(
        total(({ events }) => BigInt(events)),
        0,
      ),
      events_sq: write(
        total(({ events }) => BigInt(events) ** 2n),
        0,
      ),
      value: write(
        total(({ value }) => value),
        9,
      ),
      value_sq: write(
        total(({ value }) => value ** 2n),
        18,
      ),
      unusable: Number(total(({ unusable }) => BigInt(unusable))),
    }
  })
}

function userDaysOf(raw: Raw): Totals['user_day'] {
  // Of all languages this one writes a day as ISO 8601 does.
  const day = new Intl.DateTimeFormat('en-CA', { timeZone: raw.time_zone })
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
