/** The raw rows from which totals are made. Times are in milliseconds since 1970, UTC. */
export type Raw = {
  events: RawEvent[]
  assignments: RawAssignment[]
  /** The owner of each alias. */
  aliases: ReadonlyMap<string, string>
  runs: RawRun[]
  variants: { id: number; experiment_id: number }[]
  /** The measures of runs. */
  measures: RawMeasure[]
  /** Users who were excluded by hand. */
  excluded: { experiment_id: number; user_id: string }[]
  /** The time zone that separates days. */
  time_zone: string
}

export type RawEvent = {
  id: number
  user_id: string
  experiment_id: number | null
  variant_id: number | null
  type: string
  at: number
  /** The JSON type and the text of each property. */
  properties: Record<string, Property>
}
export type Property = { kind: 'number' | 'string' | 'boolean' | 'object' | 'array' | 'null'; text: string | null }

export type RawMeasure = {
  run_id: number
  key: string
  is_binary: boolean
  from_ms: number
  until_ms: number | null
  before_ms: number
  any_tag: boolean
  keeps_numbers: boolean
  parts: {
    part: 1 | 2
    type: string
    filter: string | null
    property: string | null
    is_count: boolean
    is_required: boolean
  }[]
}

export type RawAssignment = {
  run_id: number
  user_id: string
  variant_id: number
  period: number
  source: 'hash' | 'event' | 'alias'
  /** The variant that the earliest event named, if events decided the assignment. */
  first_variant_id: number | null
  assigned_at: number
  exposed_at: number | null
  exposure_source: 'check' | 'report' | 'event' | null
  excluded_reason: 'crossover' | 'override' | null
  dimensions: Record<string, string>
}

export type RawRun = {
  id: number
  experiment_id: number
  number: number
  started_at: number
  ended_at: number | null
  max_daily_events: number | null
}

/** Runs a statement on a database. */
export type Query = <Row>(statement: string) => Promise<Row[]>

const ms = (column: string) => `(extract(epoch from ${column}) * 1000)::float8`

export async function readRaw(query: Query): Promise<Raw> {
  const events = await query<Omit<RawEvent, 'properties'> & { properties: string }>(`
    select e.id::float8 as id, e.user_id, e.experiment_id, e.variant_id, e.type, ${ms('e.timestamp')} as at, coalesce((
      select json_object_agg(p.key, json_build_object('kind', jsonb_typeof(p.value), 'text', p.value #>> '{}'))
      from jsonb_each(e.properties) p), '{}')::text as properties
    from events e order by e.id`)
  const assignments = await query<Omit<RawAssignment, 'dimensions'> & { dimensions: string }>(`
    select a.run_id, a.user_id, a.variant_id, a.period, a.source, a.first_variant_id, ${ms('a.assigned_at')} as assigned_at,
      ${ms('a.exposed_at')} as exposed_at, a.exposure_source, a.excluded_reason, coalesce(a.dimensions, '{}')::text as dimensions
    from assignments a`)
  const aliases = await query<{ alias_id: string; user_id: string }>('select l.alias_id, l.user_id from aliases l')
  const runs = await query<RawRun>(`
    select r.id, r.experiment_id, r.number, ${ms('r.started_at')} as started_at, ${ms('r.ended_at')} as ended_at, x.max_daily_events
    from runs r join experiments x on x.id = r.experiment_id order by r.id`)
  const variants = await query<Raw['variants'][number]>('select v.id, v.experiment_id from variants v order by v.id')
  const measures = await query<Omit<RawMeasure, 'parts'> & { parts: string }>(`
    select rm.run_id, m.key, m.is_binary, m.from_ms::float8 as from_ms, m.until_ms::float8 as until_ms, m.before_ms::float8 as before_ms,
      m.any_tag, m.keeps_numbers, (
        select json_agg(json_build_object('part', p.part, 'type', p.type, 'filter', p.filter::text, 'property', p.property,
          'is_count', p.is_count, 'is_required', p.is_required)) from measure_parts p where p.measure_id = m.id)::text as parts
    from run_metrics rm join measures m on m.id = rm.measure_id where rm.ready_at is not null`)
  const excluded = await query<Raw['excluded'][number]>('select x.experiment_id, x.user_id from excluded_units x')
  const [platform] = await query<{ time_zone: string | null }>('select p.time_zone from platform p')
  return {
    events: events.map((row) => ({ ...row, properties: JSON.parse(row.properties) })),
    assignments: assignments.map((row) => ({ ...row, dimensions: JSON.parse(row.dimensions) })),
    aliases: new Map(aliases.map((link) => [link.alias_id, link.user_id])),
    runs,
    variants,
    measures: measures.map((row) => ({ ...row, parts: JSON.parse(row.parts) })),
    excluded,
    time_zone: platform?.time_zone ?? 'UTC',
  }
}
