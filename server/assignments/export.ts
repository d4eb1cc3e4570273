import { setImmediate as nextTurn } from 'node:timers/promises'
import type { MikroORM } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import { notFound } from '../errors.ts'
import { Experiment } from '../experiments/entity.ts'
import type { InMilliseconds } from '../wire.ts'
import type { LoggedAssignment } from './schema.ts'

type Row = InMilliseconds<LoggedAssignment>

const PAGE = 1000
const ms = (column: string) => sql.raw(`(extract(epoch from ${column}) * 1000)::float8`)

/**
 * Exports the exposure log of an experiment: all users assigned in any of its runs, page by page, by run and user.
 * @throws DomainError NOT_FOUND at the first page, for an unknown experiment
 */
export async function* exportAssignments(orm: MikroORM, experimentId: number): AsyncGenerator<Row[]> {
  if ((await orm.em.fork().count(Experiment, { id: experimentId })) === 0) throw notFound('Experiment', experimentId)
  let after = { run_id: 0, user_id: '' }
  for (;;) {
    const statement = sql<Row>`
      select r.number as run, a.run_id, ${ms('r.started_at')} as run_started_at, ${ms('r.ended_at')} as run_ended_at,
        a.user_id, coalesce(l.user_id, a.user_id) as person_id, a.variant_id, v.name as variant_name, a.period,
        a.source, ${ms('a.assigned_at')} as assigned_at, a.definition_version, ${ms('a.exposed_at')} as exposed_at,
        a.exposure_source, a.excluded_reason, ${ms('a.joined_at')} as joined_at, a.dimensions
      from (
        select a.* from assignments a
        where a.run_id in (select r.id from runs r where r.experiment_id = ${experimentId})
          and (a.run_id, a.user_id) > (${after.run_id}::int, ${after.user_id}::text)
        order by a.run_id, a.user_id limit ${PAGE}::int) a
      join runs r on r.id = a.run_id
      join variants v on v.id = a.variant_id
      left join lateral (select l.user_id from aliases l where l.alias_id = a.user_id offset 0) l on true
      order by a.run_id, a.user_id`
    const page = await execute(orm.em.fork(), statement)
    const last = page.at(-1)
    if (!last) return
    yield page
    after = last
    await nextTurn()
  }
}
