import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'

export type VariantCounts = {
  variant_id: number
  variant_name: string
  is_control: boolean
  total_users: number
  conversions: number
  externally_decided: number
  crossovers: number
  claimed_other: number
}

/**
 * Per variant of an experiment, in ascending id: distinct exposed users of the latest run and those of them with an
 * event of the type at or after their exposure and before the run's end. An event counts that names the experiment, or
 * none: a purchase knows nothing of experiments. Crossovers are counted apart and left out; so are, but not left out,
 * users of whom events name another variant than the platform gave them.
 */
export async function countConversions(
  em: EntityManager,
  experimentId: number,
  eventType: string,
): Promise<VariantCounts[]> {
  const { rows } = await sql<VariantCounts>`
    with run as (
      select r.id, r.started_at, r.ended_at from runs r where r.experiment_id = ${experimentId} order by r.number desc limit 1),
    exposed as (
      select a.variant_id, a.source, a.excluded_reason, exists (
        select 1 from events e
        where e.user_id = a.user_id and e.type = ${eventType} and e.timestamp >= a.exposed_at
          and (run.ended_at is null or e.timestamp < run.ended_at)
          and (e.experiment_id is null or e.experiment_id = ${experimentId})) as converted,
        a.source <> 'event' and exists (
          select 1 from events e
          where e.user_id = a.user_id and e.experiment_id = ${experimentId} and e.timestamp >= run.started_at
            and (run.ended_at is null or e.timestamp < run.ended_at) and e.variant_id <> a.variant_id) as claimed_other
      from run join assignments a on a.run_id = run.id
      where a.exposed_at is not null)
    select v.id as variant_id, v.name as variant_name, v.is_control,
      count(x.variant_id) filter (where x.excluded_reason is null)::int as total_users,
      count(x.variant_id) filter (where x.excluded_reason is null and x.converted)::int as conversions,
      count(x.variant_id) filter (where x.source = 'event')::int as externally_decided,
      count(x.variant_id) filter (where x.excluded_reason = 'crossover')::int as crossovers,
      count(x.variant_id) filter (where x.claimed_other)::int as claimed_other
    from variants v left join exposed x on x.variant_id = v.id
    where v.experiment_id = ${experimentId}
    group by v.id order by v.id`.execute(em.getKysely())
  return rows
}
