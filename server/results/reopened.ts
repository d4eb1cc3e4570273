import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import type { Run } from '../experiments/entity.ts'

/** Reads from the audit log how often a completion of a run was taken back, and warns readers of the results. */

/** Times are in milliseconds since 1970, UTC. */
type Reopening = { completed_at: number; reopened_at: number; actor: string }

/**
 * Writes a warning for each time at which a run was reopened: whoever reopens a run knows its figures.
 * @param run null: the experiment has no run
 */
export async function reopenedWarnings(em: EntityManager, run: Run | null): Promise<string[]> {
  if (run === null) return []
  const reopenings = await execute(
    em,
    sql<Reopening>`
      select (extract(epoch from (l.before ->> 'ended_at')::timestamptz) * 1000)::float8 as completed_at,
        (extract(epoch from l.at) * 1000)::float8 as reopened_at, l.actor
      from audit_log l
      where l.subject = 'runs' and l.subject_id = ${String(run.id)} and l.action = 'update'
        and l.before ->> 'ended_at' is not null and l.after ->> 'ended_at' is null
      order by l.id`,
  )
  return reopenings.map(
    ({ completed_at, reopened_at, actor }) =>
      `The run was completed at ${textOf(completed_at)} and reopened at ${textOf(reopened_at)} by ${actor}, ` +
      'who may have known the figures: a run that goes on until its figures please finds differences that do not exist.',
  )
}

/** Writes a time in ISO 8601, in whole seconds. */
const textOf = (time: number) => new Date(time).toISOString().replace(/\.\d+/, '')
