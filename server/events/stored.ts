import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import type { DecideByStored } from '../experiments/take-over.ts'
import { EXPOSURE_EVENT } from '../wire.ts'
import { decideByEvents, exposeByEvents, milliseconds, type StoredEvent } from './queries.ts'

/** How many events one statement reads and one statement decides by. */
const PAGE = 5000

type Page = Pick<StoredEvent, 'id' | 'user_id' | 'variant_id' | 'type' | 'timestamp'>[]

/**
 * Stores the assignments that stored events decide and the exposures that they report, as if the run had been there
 * when the events were received. The attributes that were sent with the events are not stored, so that dimensions come
 * from the profiles alone.
 */
export const decideByStored: DecideByStored = async (em, experimentId, since) => {
  let after = { timestamp: since.getTime(), id: 0 }
  for (;;) {
    const page = await readTelling(em, experimentId, after)
    const events = page.map((event) => ({ ...event, experiment_id: experimentId, attributes: null }))
    const deciding = events.filter((event) => event.variant_id !== null)
    if (deciding.length > 0) await decideByEvents(em, deciding)
    if (events.length > 0) await exposeByEvents(em, events)
    const last = page.at(-1)
    if (!last || page.length < PAGE) return
    after = last
  }
}

/** Reads the next events that name a variant of an experiment or report an exposure, in the order of their times. */
async function readTelling(
  em: EntityManager,
  experimentId: number,
  after: { timestamp: number; id: number },
): Promise<Page> {
  return execute(
    em,
    sql<Page[number]>`
      select e.id::float8 as id, e.user_id, e.variant_id, e.type, ${milliseconds(sql`e.timestamp`)} as timestamp
      from events e
      where e.experiment_id = ${experimentId} and (e.variant_id is not null or e.type = ${EXPOSURE_EVENT})
        and (e.timestamp, e.id) > (to_timestamp(${after.timestamp}::float8 / 1000), ${after.id}::float8::bigint)
      order by e.timestamp, e.id limit ${PAGE}::int`,
  )
}
