/** What is recorded, as it stands in the tables that totals are made from. Times in milliseconds since 1970, UTC. */
export type Raw = {
  events: RawEvent[]
  assignments: RawAssignment[]
  /** Owners by alias. */
  aliases: ReadonlyMap<string, string>
  runs: RawRun[]
  variants: { id: number; experiment_id: number }[]
  /** What runs are measured by: types of events. */
  metrics: { run_id: number; type: string }[]
  /** Where days are cut. */
  time_zone: string
}

export type RawEvent = {
  id: number
  user_id: string
  experiment_id: number | null
  variant_id: number | null
  type: string
  at: number
  /** What JSON holds as `value` of the properties, and its text; null where there is none. */
  value_kind: 'number' | 'string' | 'boolean' | 'object' | 'array' | 'null' | null
  value_text: string | null
}

export type RawAssignment = {
  run_id: number
  user_id: string
  variant_id: number
  period: number
  source: 'hash' | 'event' | 'alias'
  /** What the earliest event named, of one that events decided. */
  first_variant_id: number | null
  assigned_at: number
  exposed_at: number | null
  excluded_reason: 'crossover' | 'override' | null
  dimensions: Record<string, string>
}

export type RawRun = {
  id: number
  experiment_id: number
  number: number
  started_at: number
  ended_at: number | null
}

/** Asks a database. */
export type Query = <Row>(statement: string) => Promise<Row[]>

const ms = (column: string) => `(extract(epoch from ${column}) * 1000)::float8`

export async function readRaw(query: Query): Promise<Raw> {
  const events = await query<RawEvent>(`
    select e.id::float8 as id, e.user_id, e.experiment_id, e.variant_id, e.type, ${ms('e.timestamp')} as at,
      jsonb_typeof(e.properties -> 'value') as value_kind, e.properties ->> 'value' as value_text
    from events e order by e.id`)
  const assignments = await query<Omit<RawAssignment, 'dimensions'> & { dimensions: string }>(`
    select a.run_id, a.user_id, a.variant_id, a.period, a.source, a.first_variant_id, ${ms('a.assigned_at')} as assigned_at,
      ${ms('a.exposed_at')} as exposed_at, a.excluded_reason, coalesce(a.dimensions, '{}')::text as dimensions
    from assignments a`)
  const aliases = await query<{ alias_id: string; user_id: string }>('select l.alias_id, l.user_id from aliases l')
  const runs = await query<RawRun>(`
    select r.id, r.experiment_id, r.number, ${ms('r.started_at')} as started_at, ${ms('r.ended_at')} as ended_at
    from runs r order by r.id`)
  const variants = await query<Raw['variants'][number]>('select v.id, v.experiment_id from variants v order by v.id')
  const metrics = await query<Raw['metrics'][number]>(`
    select m.run_id, t.name as type from run_metrics m join metrics x on x.id = m.metric_id
    join event_types t on t.id = x.type_id where m.ready_at is not null`)
  const [platform] = await query<{ time_zone: string | null }>('select p.time_zone from platform p')
  return {
    events,
    assignments: assignments.map((row) => ({ ...row, dimensions: JSON.parse(row.dimensions) })),
    aliases: new Map(aliases.map((link) => [link.alias_id, link.user_id])),
    runs,
    variants,
    metrics,
    time_zone: platform?.time_zone ?? 'UTC',
  }
}
