import type { EntityManager } from '@mikro-orm/sql'
import type { KeyRing } from '../auth/key-ring.ts'
import { notFound } from '../errors.ts'
import { Experiment } from '../experiments/entity.ts'
import { DEFAULT_LIMIT } from '../wire.ts'
import { selectAttributed } from './attributed.ts'
import { selectEvents } from './filters.ts'
import type { StoredEvent } from './queries.ts'
import type { EventOutput, ListEvents, TailEvents, TailedEvent } from './schema.ts'
import type { EventTail } from './tail.ts'

/**
 * Lists the events that name an experiment, or those that its results count, and fit the filter, by ascending id.
 * @throws DomainError NOT_FOUND for an unknown experiment
 */
export async function listEvents(em: EntityManager, filter: ListEvents): Promise<EventOutput[]> {
  if ((await em.count(Experiment, { id: filter.experiment_id })) === 0)
    throw notFound('Experiment', filter.experiment_id)
  const select = filter.count === 'attributed' ? selectAttributed : selectEvents
  const rows: StoredEvent[] = await select(em, filter, filter.limit ?? DEFAULT_LIMIT)
  return rows.map((row) => ({ ...row, timestamp: new Date(row.timestamp) }))
}

/** Yields events as they are stored, for as long as the API key of the token is active; see `tail.ts`. */
export async function* tail(
  { eventTail, keyRing }: { eventTail: EventTail; keyRing: KeyRing },
  token: string | undefined,
  input: TailEvents,
  signal: AbortSignal | undefined,
): AsyncGenerator<TailedEvent & { cursor: string }> {
  const isAllowed = async () => token !== undefined && (await keyRing.check(token)) !== null
  for await (const { timestamp, received_at, ...event } of eventTail.follow(input, isAllowed, signal))
    yield { ...event, timestamp: new Date(timestamp), received_at: new Date(received_at) }
}
