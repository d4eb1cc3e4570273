import { Migration } from '@mikro-orm/migrations'

/**
 * Counts events that lack the property of a metric, reads properties by dotted paths, and counts exposed users by the
 * hour, so that answers can tell whose window is over.
 */
export class Migration0009Values extends Migration {
  override up() {
    this.readPaths()
    this.countMissing()
    this.countHours()
    this.nameCaps()
  }

  /** A key that holds dots goes before a path: `order.total` is the property of that name, else `total` in `order`. */
  private readPaths() {
    this.addSql(`create function event_property(properties jsonb, property text) returns jsonb
      language sql immutable parallel safe
      return coalesce(properties -> property,
        case when strpos(property, '.') > 0 then properties #> string_to_array(property, '.') end)`)
    this.addSql(`create or replace function event_number(properties jsonb, property text) returns numeric
      language sql immutable parallel safe
      return case when jsonb_typeof(event_property(properties, property)) = 'number'
        then case when abs(event_property(properties, property)::numeric) <= 1e12
          then round(event_property(properties, property)::numeric, 9) end end`)
    this.addSql(`create or replace function event_unfit(properties jsonb, property text) returns boolean
      language sql immutable parallel safe
      return event_property(properties, property) is not null and event_number(properties, property) is null`)
  }

  private countMissing() {
    this.addSql(`alter table measure_parts add column is_required boolean not null default false`)
    this.addSql(`update measure_parts p set is_required = true from measures m
      where m.id = p.measure_id and m.key like 'definition:%' and p.property is not null and not p.is_count`)
    this.addSql(`alter table unit_metrics add column missing bigint not null default 0`)
    this.addSql(`alter table variant_metrics add column missing bigint not null default 0`)
    // Past events are counted again in the background, because only they say how many lack the property.
    this.addSql(`update run_metrics rm set ready_at = null, filled_to = null from runs r
      where r.id = rm.run_id and r.frozen_at is null and exists (
        select 1 from measure_parts p where p.measure_id = rm.measure_id and p.is_required)`)
  }

  private countHours() {
    this.addSql(`create table exposure_hours (
      run_id int not null,
      hour timestamptz not null,
      variant_id int not null,
      period int not null,
      users bigint not null,
      crossovers bigint not null,
      constraint exposure_hours_pkey primary key (run_id, hour, variant_id, period)) with (fillfactor = 50)`)
    this.addSql(`insert into exposure_hours (run_id, hour, variant_id, period, users, crossovers)
      select u.run_id, date_bin('1 hour', u.exposed_at, '2000-01-01T00:00:00Z'), u.variant_id, u.period,
        count(*) filter (where u.excluded_reason is null), count(*) filter (where u.excluded_reason = 'crossover')
      from units u where u.exposed_at is not null and (u.excluded_reason is null or u.excluded_reason = 'crossover')
      group by 1, 2, 3, 4`)
    this.addSql(`create index units_run_id_exposed_at_index on units (run_id, exposed_at)`)
  }

  /** Caps of stored definitions keep their meaning: a quantile of all users' values. */
  private nameCaps() {
    this.addSql(`update metric_versions set definition = definition || '{"cap_of": "all"}'
      where jsonb_typeof(definition -> 'cap') = 'number'`)
  }
}
