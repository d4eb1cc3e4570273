import { setTimeout as sleep } from 'node:timers/promises'
import { type MadeEvent, makeEvent, type Population } from '../event-traffic.ts'
import type { EmbeddedPlatform } from './platform.ts'

const EXPERIMENTS = 2
const ENROL_AT_ONCE = 64
const EVERY_MS = 50

/** Known users and the variants that the platform gave them. */
export type Crowd = { population: Population; experimentIds: number[]; makeEvents: (count: number) => MadeEvent[] }

/** Creates two experiments, the first with three metrics, and assigns every user in both. */
export async function enrol({ call }: EmbeddedPlatform, users: number): Promise<Crowd> {
  const metrics: number[] = []
  for (const definition of [
    { type: 'proportion', event_type: 'conversion' },
    { type: 'count', event_type: 'page_view' },
    { type: 'sum', event_type: 'conversion', property: 'value' },
  ])
    metrics.push((await call<{ id: number }>('POST', '/metrics', { name: definition.type, definition })).id)
  const experimentIds: number[] = []
  for (let number = 1; number <= EXPERIMENTS; number++) {
    const { id } = await call<{ id: number }>('POST', '/experiments', { name: `experiment ${number}` })
    for (const name of ['control', 'treatment'])
      await call('POST', `/experiments/${id}/variants`, { name, percent_allocated: 50 })
    experimentIds.push(id)
  }
  await call('PUT', `/experiments/${experimentIds[0]}/metrics`, {
    metrics: metrics.map((metric_id, index) => ({ metric_id, role: index === 0 ? 'primary' : 'secondary' })),
  })
  const variants = new Map<string, number>()
  for (let first = 1; first <= users; first += ENROL_AT_ONCE)
    await Promise.all(
      Array.from({ length: Math.min(ENROL_AT_ONCE, users + 1 - first) }, async (_, index) => {
        const user_id = `user_${first + index}`
        const { eligible_experiment_ids: decisions } = await call<{
          eligible_experiment_ids: Record<string, { variant_id: number }>
        }>('POST', '/experiments/check-eligibility', { user_id, experiment_ids: experimentIds, attributes: {} })
        for (const [id, { variant_id }] of Object.entries(decisions)) variants.set(`${user_id} ${id}`, variant_id)
      }),
    )
  const population: Population = {
    experiments: experimentIds.map((experimentId) => ({ experimentId, variantIds: [0, 0] as const })),
    users,
  }
  const makeOne = (): MadeEvent => {
    const event = makeEvent(population)
    if (event.variant_id === null) return event
    return { ...event, variant_id: variants.get(`${event.user_id} ${event.experiment_id}`) ?? null }
  }
  return { population, experimentIds, makeEvents: (count) => Array.from({ length: count }, makeOne) }
}

/**
 * Sends events at a steady rate, in small batches, whether or not the platform keeps up.
 * @returns a function that ends the stream and gives the number of accepted events per second
 */
export function streamEvents({ call }: EmbeddedPlatform, { makeEvents }: Crowd, perSecond: number) {
  const events = makeEvents(Math.round((perSecond * EVERY_MS) / 1000))
  const waiting = new Set<Promise<void>>()
  const began = performance.now()
  let ended = false
  let accepted = 0
  const sending = (async () => {
    for (let tick = 1; !ended; tick++) {
      const sent = call<{ accepted: number }>('POST', '/events/batch', { events }).then(
        (answer) => {
          accepted += answer.accepted
        },
        () => {},
      )
      waiting.add(sent)
      void sent.then(() => waiting.delete(sent))
      await sleep(Math.max(0, began + tick * EVERY_MS - performance.now()))
    }
  })()
  return async () => {
    ended = true
    const seconds = (performance.now() - began) / 1000
    await sending
    await Promise.all(waiting)
    return accepted / seconds
  }
}
