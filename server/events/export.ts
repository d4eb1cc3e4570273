import { setImmediate as nextTurn } from 'node:timers/promises'
import type { MikroORM } from '@mikro-orm/sql'
import { notFound } from '../errors.ts'
import { Experiment } from '../experiments/entity.ts'
import { cursorFrom, type OrderedEvent, readAfter, readHorizon } from './order.ts'
import type { ExportEvents } from './schema.ts'

/** Events that one query scans. The embedded database runs one query at a time, so each query must be short. */
const PAGE = 1000

/**
 * Yields the events that are stored when the export begins, page by page, in the order in which they were stored.
 * Events that name no experiment are included. An export that starts after the last cursor of an earlier one yields the
 * events stored since, and no event twice.
 * @throws DomainError before the first page: NOT_FOUND for an unknown experiment, BAD_REQUEST for a bad cursor
 */
export async function* exportEvents(orm: MikroORM, filter: ExportEvents): AsyncGenerator<OrderedEvent[]> {
  let after = cursorFrom(filter.after, 'after')
  if (filter.experiment_id && (await orm.em.fork().count(Experiment, { id: filter.experiment_id })) === 0)
    throw notFound('Experiment', filter.experiment_id)
  const horizon = await readHorizon(orm.em.fork())
  for (;;) {
    const { events, last } = await readAfter(orm.em.fork(), after, horizon, filter, PAGE)
    if (last === null) return
    if (events.length > 0) yield events
    after = last
    await nextTurn()
  }
}
