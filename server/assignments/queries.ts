import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { EXPOSURE_EVENT, type Json } from '../wire.ts'

export type StoredAssignment = {
  run_id: number
  user_id: string
  variant_id: number
  exposed: boolean
  /** Milliseconds since 1970, UTC. */
  assigned_at: number
}

const columns = sql`a.run_id, a.user_id, a.variant_id, a.exposed_at is not null as exposed,
  (extract(epoch from a.assigned_at) * 1000)::float8 as assigned_at`

/** Everything assigned to these users in runs of experiments that are not archived. One round trip. */
export async function loadAssignments(em: EntityManager, userIds: readonly string[]): Promise<StoredAssignment[]> {
  const { rows } = await sql<StoredAssignment>`
    select ${columns}
    from jsonb_array_elements_text(${JSON.stringify(userIds)}::text::jsonb) as i (user_id)
    join assignments a on a.user_id = i.user_id
    join runs r on r.id = a.run_id
    join experiments e on e.id = r.experiment_id
    where e.status <> 'archived'`.execute(em.getKysely())
  return rows
}

/** A drawn decision and the version of its experiment that it was drawn by. */
export type NewAssignment = {
  run_id: number
  user_id: string
  variant_id: number
  period: number
  experiment_id: number
  definition_version: number
  attributes: Record<string, Json> | null
  expose: boolean
  /** The people's version when the user was looked at. */
  people_version: number
}

/**
 * Stores decisions, sorted by key; whoever is first wins. A report of the exposure may have come first, from a sender
 * whose clock is ahead.
 * @returns the rows that this call stored */
export async function insertAssignments(
  em: EntityManager,
  assignments: readonly NewAssignment[],
): Promise<StoredAssignment[]> {
  const { rows } = await sql<StoredAssignment>`
    insert into assignments as a (run_id, user_id, variant_id, period, source, assigned_at, definition_version, attributes, exposed_at, exposure_source)
    select i.run_id, i.user_id, i.variant_id, i.period, 'hash', now_ms(), i.definition_version, i.attributes,
      coalesce(met.at, reported.at), case when i.expose then 'check' when reported.at is not null then 'report' end
    from jsonb_to_recordset(${JSON.stringify(assignments)}::text::jsonb) as i (
      run_id int, user_id text, variant_id int, period int, experiment_id int, definition_version int, attributes jsonb, expose boolean)
    left join lateral (select now_ms() as at where i.expose) met on true
    left join lateral (
      select min(e.timestamp) as at from events e
      where not i.expose and e.user_id = i.user_id and e.experiment_id = i.experiment_id
        and e.type = ${EXPOSURE_EVENT} and e.timestamp >= now_ms()) reported on true
    order by i.run_id, i.user_id collate "C"
    on conflict (run_id, user_id) do nothing
    returning ${columns}`.execute(em.getKysely())
  return rows
}

export type AssignmentKey = { run_id: number; user_id: string }

export async function readAssignments(
  em: EntityManager,
  wanted: readonly AssignmentKey[],
): Promise<StoredAssignment[]> {
  const { rows } = await sql<StoredAssignment>`
    select ${columns}
    from jsonb_to_recordset(${JSON.stringify(wanted)}::text::jsonb) as i (run_id int, user_id text)
    join assignments a on a.run_id = i.run_id and a.user_id = i.user_id`.execute(em.getKysely())
  return rows
}

/** Notes that these users met their variants now, where no exposure is stored yet. Rows are locked in the order of their keys. */
export async function exposeAssignments(em: EntityManager, exposed: readonly AssignmentKey[]) {
  await sql`
    with locked as (
      select a.run_id, a.user_id
      from jsonb_to_recordset(${JSON.stringify(exposed)}::text::jsonb) as i (run_id int, user_id text)
      join assignments a on a.run_id = i.run_id and a.user_id = i.user_id
      where a.exposed_at is null
      order by a.run_id, a.user_id
      for update of a)
    update assignments a set exposed_at = now_ms(), exposure_source = 'check'
    from locked where a.run_id = locked.run_id and a.user_id = locked.user_id and a.exposed_at is null`.execute(
    em.getKysely(),
  )
}
