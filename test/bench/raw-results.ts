/**
 * Computes the documented results from raw events, as a platform without running totals would. The bench compares the
 * time of a results answer with the time of this statement. $1 is the experiment, $2 the type of event.
 */
export const RAW_RESULTS = `
    with run as (
      select r.id, r.started_at, r.ended_at from runs r where r.experiment_id = $1 order by r.number desc limit 1),
    person as (
      select coalesce(l.user_id, a.user_id) as id, min(a.exposed_at) as exposed_at,
        min(a.variant_id) filter (where a.exposed_at is not null) as variant_id,
        max(a.variant_id) filter (where a.exposed_at is not null) as other_id,
        bool_or(a.source = 'event') as is_external,
        coalesce(bool_or(a.excluded_reason = 'override'), false) as is_overridden,
        coalesce(bool_or(a.excluded_reason = 'crossover'), false) as is_crossed
      from run join assignments a on a.run_id = run.id left join aliases l on l.alias_id = a.user_id
      group by coalesce(l.user_id, a.user_id)),
    exposed as (
      select p.variant_id, p.is_external, p.is_overridden,
        not p.is_overridden and (p.is_crossed or p.variant_id <> p.other_id) as is_crossed,
        exists (
          select 1 from (select p.id union all select l.alias_id from aliases l where l.user_id = p.id) ids join events e on e.user_id = ids.id
          where e.type = $2 and e.timestamp >= p.exposed_at
            and (run.ended_at is null or e.timestamp < run.ended_at)
            and (e.experiment_id is null or e.experiment_id = $1)) as is_converted,
        not p.is_external and exists (
          select 1 from (select p.id union all select l.alias_id from aliases l where l.user_id = p.id) ids join events e on e.user_id = ids.id
          where e.experiment_id = $1 and e.timestamp >= run.started_at
            and (run.ended_at is null or e.timestamp < run.ended_at)
            and e.variant_id not in (p.variant_id, p.other_id)) as is_claimed_other
      from run cross join person p
      where p.exposed_at is not null)
    select v.id as variant_id, v.name as variant_name, v.is_control,
      count(x.variant_id) filter (where not x.is_overridden and not x.is_crossed)::int as total_users,
      count(x.variant_id) filter (where not x.is_overridden and not x.is_crossed and x.is_converted)::int as conversions,
      count(x.variant_id) filter (where x.is_external)::int as externally_decided,
      count(x.variant_id) filter (where x.is_crossed)::int as crossovers,
      count(x.variant_id) filter (where x.is_overridden)::int as overridden,
      count(x.variant_id) filter (where x.is_claimed_other)::int as claimed_other
    from variants v left join exposed x on x.variant_id = v.id
    where v.experiment_id = $1
    group by v.id order by v.id`
