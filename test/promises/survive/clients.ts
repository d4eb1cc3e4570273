import type { Loose } from '../../support/api.ts'
import { pause, type Reply } from '../scale/call.ts'
import type { ScalePlatform } from '../scale/platform.ts'
import type { Random } from '../scale/random.ts'

/** Clients that post events and request decisions while processes and services are killed. They keep the answers. */

export type Definitions = { experiments: { id: number; variants: number[] }[]; users: number }
/** The answers that clients got. */
export type Observed = {
  /** The ids of acknowledged events, by their event_id. */
  acknowledged: Map<string, number>
  unacknowledged: Set<string>
  /** Variants by user and experiment. */
  decisions: Map<string, number>
  checks: number
  /** Answers that contradict earlier answers. */
  faults: string[]
}

const UNTAGGED = 0.3
const TYPES = ['conversion', 'purchase', 'view']
/** The probability that a client gives up after a failed request. */
const GIVES_UP = 0.02
const RETRY_MS = 40

export async function actAsClient(
  name: string,
  {
    platform,
    definitions,
    observed,
    random,
    isOver,
  }: { platform: ScalePlatform; definitions: Definitions; observed: Observed; random: Random; isOver: () => boolean },
) {
  let made = 0
  const makeEvent = (): Loose => {
    const event_id = `${name} ${++made}`
    const event: Loose = {
      user_id: `user ${random.below(definitions.users)}`,
      type: random.pick(TYPES),
      event_id,
      properties: { event_id, value: random.below(10_000) / 100 },
      attributes: {},
    }
    if (!random.chance(UNTAGGED)) {
      const experiment = random.pick(definitions.experiments)
      event.experiment_id = experiment.id
      if (random.chance(0.3)) event.variant_id = random.pick(experiment.variants)
    }
    if (random.chance(0.3)) event.timestamp = new Date(Date.now() - random.below(60_000)).toISOString()
    return event
  }

  /** Repeats a request until it is answered. A client may give up, and then never gets an answer. */
  async function insist(path: string, body: object): Promise<Reply> {
    for (;;) {
      const reply = await platform.call('POST', path, body)
      if (reply && reply.status !== 200) observed.faults.push(`${path}: ${reply.status} ${JSON.stringify(reply.body)}`)
      if (reply) return reply
      if (isOver() || random.chance(GIVES_UP)) return null
      await pause(RETRY_MS)
    }
  }

  function acknowledge(eventId: string, id: unknown) {
    const before = observed.acknowledged.get(eventId)
    if (typeof id !== 'number' || (before !== undefined && before !== id))
      observed.faults.push(`event ${eventId} was ${before} and is ${id}`)
    else observed.acknowledged.set(eventId, id)
  }

  async function postOne() {
    const event = makeEvent()
    observed.unacknowledged.add(event.event_id)
    // Some events are sent twice at once, as impatient clients do.
    const replies = await Promise.all(
      Array.from({ length: random.chance(0.1) ? 2 : 1 }, () => insist('/api/events', event)),
    )
    for (const reply of replies) if (reply?.status === 200) acknowledge(event.event_id, reply.body.id)
  }

  async function postBatch() {
    const events = Array.from({ length: 1 + random.below(60) }, makeEvent)
    for (const event of events) observed.unacknowledged.add(event.event_id)
    const reply = await insist('/api/events/batch', { events })
    for (const [index, result] of (reply?.body.results ?? []).entries()) {
      if (result.status === 'rejected') observed.faults.push(`rejected: ${JSON.stringify(result)}`)
      else acknowledge(events[index].event_id, result.id)
    }
  }

  async function check() {
    const user_id = `user ${random.below(definitions.users)}`
    const reply = await insist('/api/experiments/check-eligibility', {
      user_id,
      experiment_ids: definitions.experiments.map(({ id }) => id),
      attributes: {},
    })
    if (!reply) return
    observed.checks++
    for (const [experiment, { variant_id }] of Object.entries<Loose>(reply.body.eligible_experiment_ids)) {
      const key = `${user_id} ${experiment}`
      const before = observed.decisions.get(key)
      if (before !== undefined && before !== variant_id)
        observed.faults.push(`${key} flipped from ${before} to ${variant_id}`)
      observed.decisions.set(key, variant_id)
    }
  }

  while (!isOver())
    await { single: postOne, batch: postBatch, check }[random.weighted({ single: 6, batch: 2, check: 3 })]()
}
