import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { logUserChanges } from '../audit/user-changes.ts'
import { execute, list } from '../database/sql.ts'
import { inArchive, notFound } from '../errors.ts'
import { Experiment } from '../experiments/entity.ts'
import { DEFAULT_LIMIT } from '../wire.ts'
import { ExcludedUnit } from './entity.ts'
import type { ExcludeUsers, IncludeUsers, ListExcluded } from './schema.ts'

async function find(em: EntityManager, experimentId: number): Promise<Experiment> {
  const experiment = await em.findOne(Experiment, experimentId)
  if (!experiment) throw notFound('Experiment', experimentId)
  return experiment
}

/**
 * Excludes users, and all ids that are joined to them, from the results of an experiment. Frozen results do not change.
 * @returns the number of users who were not excluded before
 * @throws DomainError NOT_FOUND for an unknown experiment, CONFLICT for an archived one
 */
export async function excludeUsers(em: EntityManager, input: ExcludeUsers) {
  await expectOpen(em, input.experiment_id)
  const excluded = await execute(
    em,
    sql<Excluded>`
      insert into excluded_units (experiment_id, user_id, note)
      select distinct ${input.experiment_id}::int, i.user_id, ${input.note ?? null}::text
      from ${list(input.user_ids)} as i (user_id)
      order by i.user_id
      on conflict (user_id, experiment_id) do nothing returning user_id, note`,
  )
  const entries = excluded.map((row) => entryOf(input.experiment_id, row))
  await logUserChanges(
    em,
    entries.map(({ values, ...subject }) => ({ ...subject, before: null, after: values })),
  )
  return { changed: excluded.length }
}

/**
 * Counts excluded users in the results of an experiment again.
 * @returns the number of users who were excluded before
 * @throws DomainError NOT_FOUND for an unknown experiment, CONFLICT for an archived one
 */
export async function includeUsers(em: EntityManager, input: IncludeUsers) {
  await expectOpen(em, input.experiment_id)
  const included = await execute(
    em,
    sql<Excluded>`
      delete from excluded_units x using ${list(input.user_ids)} as i (user_id)
      where x.user_id = i.user_id and x.experiment_id = ${input.experiment_id} returning x.user_id, x.note`,
  )
  const entries = included.map((row) => entryOf(input.experiment_id, row))
  await logUserChanges(
    em,
    entries.map(({ values, ...subject }) => ({ ...subject, before: values, after: null })),
  )
  return { changed: included.length }
}

type Excluded = { user_id: string; note: string | null }
const entryOf = (experimentId: number, excluded: Excluded) => ({
  subject: 'exclusions' as const,
  subject_id: String(experimentId),
  values: { experiment_id: experimentId, ...excluded },
})

async function expectOpen(em: EntityManager, experimentId: number) {
  const { id, status } = await find(em, experimentId)
  if (status === 'archived') throw inArchive(id)
}

/**
 * Lists the users excluded by request, by ascending user id.
 * @throws DomainError NOT_FOUND for an unknown experiment
 */
export async function listExcluded(em: EntityManager, input: ListExcluded) {
  await find(em, input.experiment_id)
  return em.find(
    ExcludedUnit,
    { experiment_id: input.experiment_id, user_id: { $gt: input.after ?? '' } },
    { orderBy: { user_id: 'asc' }, limit: input.limit ?? DEFAULT_LIMIT },
  )
}
