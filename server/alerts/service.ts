import type { EntityManager } from '@mikro-orm/sql'
import { notFound } from '../errors.ts'
import { Experiment, Run } from '../experiments/entity.ts'
import type { Following } from '../results/follow.ts'
import { DEFAULT_LIMIT } from '../wire.ts'
import { Alert } from './entity.ts'
import type { AlertAnswer, FollowAlerts, ListAlerts } from './schema.ts'

const POLL_MS = 1000

/**
 * Lists alerts in the order in which they were raised.
 * @throws DomainError NOT_FOUND for an unknown experiment
 */
export async function listAlerts(em: EntityManager, input: ListAlerts): Promise<AlertAnswer[]> {
  if (input.experiment_id !== undefined && !(await em.findOne(Experiment, input.experiment_id)))
    throw notFound('Experiment', input.experiment_id)
  return readAfter(em, input)
}

async function readAfter(em: EntityManager, input: ListAlerts): Promise<AlertAnswer[]> {
  const { experiment_id, kind, after = 0, limit = DEFAULT_LIMIT } = input
  const alerts = await em.find(
    Alert,
    { id: { $gt: after }, ...(experiment_id === undefined ? {} : { experiment_id }), ...(kind ? { kind } : {}) },
    { orderBy: { id: 'asc' }, limit },
  )
  const runs = await em.find(Run, { id: { $in: [...new Set(alerts.map(({ run_id }) => run_id))] } })
  return alerts.map(({ run_id, ...alert }) => ({ ...alert, run: runs.find(({ id }) => id === run_id)?.number ?? 0 }))
}

/**
 * Yields the alerts raised from now on, or after the last one that the reader has seen. No alert is missed, because ids
 * commit in ascending order. The stream ends when the API key of the token is no longer active.
 */
export async function* followAlerts(
  { orm, keyRing, poller }: Following,
  token: string | undefined,
  { lastEventId, experiment_id }: FollowAlerts,
  signal: AbortSignal | undefined,
): AsyncGenerator<AlertAnswer> {
  const isAllowed = async () => token !== undefined && (await keyRing.check(token)) !== null
  let after = lastEventId ? Number(lastEventId) : await newest(orm.em.fork())
  for await (const _ of poller.every(POLL_MS, isAllowed, signal))
    for (const alert of await readAfter(orm.em.fork(), { after, ...(experiment_id ? { experiment_id } : {}) })) {
      after = alert.id
      yield alert
    }
}

const newest = async (em: EntityManager) =>
  (await em.find(Alert, {}, { orderBy: { id: 'desc' }, limit: 1 }))[0]?.id ?? 0
