import { setImmediate as nextTurn } from 'node:timers/promises'
import type { MikroORM } from '@mikro-orm/sql'
import { notFound } from '../errors.ts'
import { Experiment } from '../experiments/entity.ts'
import { cursorFrom, type OrderedEvent, readAfter, readHorizon } from './order.ts'
import type { ExportEvents } from './schema.ts'

/** Events that one query looks at: few enough for the embedded database, which answers nobody else meanwhile. */
const PAGE = 1000

/**
 * All events that are stored when it begins, in the order in which they were, page by page; those that name no experiment
 * too. Whoever goes on later after the last cursor gets the rest, and nothing twice.
 * @throws DomainError at the first page: NOT_FOUND for an unknown experiment, BAD_REQUEST for a bad cursor
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
