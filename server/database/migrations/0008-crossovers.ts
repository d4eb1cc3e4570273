import { Migration } from '@mikro-orm/migrations'

/**
 * Lets experiments analyse users who met two variants under the first one, and brings the totals of runs that are not
 * frozen to the present rules. The changes are made where users are recounted: users whose figures may change are added
 * to the log of the fold, and every answer recounts logged users.
 */
export class Migration0008Crossovers extends Migration {
  override up() {
    this.addSql(`alter table experiments add column crossovers text not null default 'exclude'`)
    this.addSql(
      `update runs set plan = plan || '{"crossovers": "exclude"}' where frozen_at is null and plan is not null`,
    )
    this.addOwnRows()
    this.logMoved()
    this.logExposed()
  }

  /** Gives crossovers rows of their own in the totals of metrics, from what totals keep per user. */
  private addOwnRows() {
    this.addSql(`alter table variant_metrics add column is_crossover boolean not null default false,
      drop constraint variant_metrics_pkey,
      add constraint variant_metrics_pkey primary key
        (run_id, measure_id, dimension, dimension_value, variant_id, period, is_crossover)`)
    const amounts = ['num', 'den', 'pre_num', 'pre_den']
    const products = amounts.flatMap((one, index) =>
      amounts.slice(index).map((other) => ({ name: `${one}_${other}`, sum: `m.${one} * m.${other}` })),
    )
    const sums = [...amounts.map((name) => ({ name, sum: `m.${name}` })), ...products]
    this.addSql(`insert into variant_metrics (run_id, measure_id, dimension, dimension_value, variant_id, period,
        is_crossover, users, exposing, events, unusable, ${sums.map(({ name }) => name).join(', ')})
      select u.run_id, m.measure_id, d.dimension, d.dimension_value, u.variant_id, u.period, true,
        count(*) filter (where m.events > 0), count(*) filter (where m.events > 0 and m.exposing), sum(m.events),
        sum(m.unusable), ${sums.map(({ sum }) => `sum(${sum})`).join(', ')}
      from units u
      join runs r on r.id = u.run_id and r.frozen_at is null
      join unit_metrics m on m.user_id = u.user_id and m.run_id = u.run_id
      cross join lateral (
        select '' as dimension, '' as dimension_value
        union all select x.key, x.value from jsonb_each_text(coalesce(u.dimensions, '{}')) x) d
      where u.exposed_at is not null and u.excluded_reason = 'crossover'
      group by u.run_id, m.measure_id, d.dimension, d.dimension_value, u.variant_id, u.period`)
  }

  /** Logs users who stood under the smallest of several variants, or in the period of an assignment without exposure. */
  private logMoved() {
    const first = (value: string) => `(array_agg(${value} order by a.exposed_at is null, a.assigned_at, a.user_id))[1]`
    this.addSql(`insert into fold_log (user_id)
      with person as (
        select l.user_id as id from aliases l
        union
        select a.user_id from assignments a where a.first_variant_id <> a.variant_id),
      id as (
        select p.id as person_id, p.id as user_id from person p
        union all select p.id, l.alias_id from person p join aliases l on l.user_id = p.id),
      first as (
        select i.person_id, a.run_id, ${first('coalesce(a.first_variant_id, a.variant_id)')} as variant_id,
          ${first('a.period')} as period, ${first('a.dimensions')} as dimensions
        from id i
        join assignments a on a.user_id = i.user_id
        join runs r on r.id = a.run_id and r.frozen_at is null
        group by i.person_id, a.run_id)
      select distinct f.person_id from first f join units u on u.user_id = f.person_id and u.run_id = f.run_id
      where (u.variant_id, u.period, u.dimensions) is distinct from (f.variant_id, f.period, f.dimensions)`)
  }

  /** Logs users whom events of several types exposed at the same time: totals name the type that arrived first. */
  private logExposed() {
    this.addSql(`insert into fold_log (user_id)
      select distinct u.user_id
      from units u
      join runs r on r.id = u.run_id and r.frozen_at is null
      cross join lateral (
        select case when count(distinct e.type) = 1 then min(e.type) end as type
        from (select u.user_id as id union all select l.alias_id from aliases l where l.user_id = u.user_id) i
        cross join lateral (
          select e.type from events e
          where e.user_id = i.id and e.timestamp = u.exposed_at and e.experiment_id = r.experiment_id
            and e.variant_id is not null offset 0) e) exposing
      where u.exposed_by is not null and exposing.type is distinct from u.exposed_by`)
  }
}
