import { administer } from '../../support/services.ts'
import { GOLD } from './definitions.ts'
import { askFor, type Simulation } from './questions.ts'
import { createTally } from './tally.ts'

/**
 * Requests every decision of every user once more, on each process after a restart without its memory.
 * @returns the number of decisions requested, and how many assigned users got no variant
 */
export async function askEverybody(simulation: Simulation): Promise<{ asked: number; unanswered: number }> {
  const { platform, definitions, users, oracle } = simulation
  const tally = createTally()
  let asked = 0
  for (const instance of platform.instances) {
    await platform.kill(instance)
    const left = users.known()
    const work = async () => {
      for (let userId = left.pop(); userId !== undefined; userId = left.pop()) {
        const decisions = await askFor(
          { oracle, tally },
          instance.call,
          { userId, plan: GOLD },
          definitions.experiments,
        )
        asked += decisions
      }
    }
    await Promise.all(Array.from({ length: 32 }, work))
  }
  const reasons = ['disabled', 'left out', 'new variant', 'unexplained'] as const
  return { asked, unanswered: reasons.reduce((sum, reason) => sum + tally.of(`answered none: ${reason}`), 0) }
}

type Row = { experiment_id: number; run: number; user_id: string; variant_id: number }

/**
 * Compares the answered decisions with the stored ones.
 * @returns the differences, and the number of compared decisions
 */
export async function compareStored({ oracle, platform }: Simulation): Promise<{ faults: string[]; compared: number }> {
  const rows = await administer<Row>(
    `select r.experiment_id, r.number as run, a.user_id, a.variant_id from assignments a join runs r on r.id = a.run_id`,
    platform.databaseUrl,
  )
  const keyOf = (experimentId: number, run: number, userId: string) => `${experimentId} ${run} ${userId}`
  const stored = new Map(rows.map((row) => [keyOf(row.experiment_id, row.run, row.user_id), row.variant_id]))
  const faults: string[] = []
  let compared = 0
  for (const { experimentId, run, userId, variantId } of oracle.answers()) {
    const owner = oracle.ownerOf(userId)
    const row =
      stored.get(keyOf(experimentId, run, userId)) ??
      (owner === undefined ? undefined : stored.get(keyOf(experimentId, run, owner)))
    compared++
    if (row !== variantId)
      faults.push(
        `${userId} (owner ${owner ?? 'none'}) got variant ${variantId} in run ${run} of experiment ${experimentId}, but ${row} is stored`,
      )
  }
  return { faults, compared }
}

/**
 * Finds drawn decisions that the layer or the holdout should have prevented. Decisions that were copied at a login or
 * came from an event are not drawn. A copied decision counts from the login on.
 */
export async function findBreaches({ platform }: Simulation): Promise<string[]> {
  const inLayer = await administer<{ user_id: string; drawn: number; other: number }>(
    `select a.user_id, r.experiment_id as drawn, r2.experiment_id as other
     from assignments a join runs r on r.id = a.run_id join experiments e on e.id = r.experiment_id
     join experiments e2 on e2.layer_id = e.layer_id and e2.id <> e.id
     join runs r2 on r2.experiment_id = e2.id and r2.ended_at is null
     join assignments b on b.run_id = r2.id and b.user_id = a.user_id
     where a.source = 'hash' and b.source = 'hash' and r.ended_at is null and a.assigned_at >= b.assigned_at`,
    platform.databaseUrl,
  )
  const held = await administer<{ user_id: string; experiment_id: number; story: string }>(
    `select a.user_id, r.experiment_id,
       (select string_agg(concat_ws(' ', o.user_id, 'run', o.run_id, 'variant', o.variant_id, o.source, o.assigned_at, 'v', o.definition_version), E'\n  ' order by o.assigned_at)
        from assignments o where o.run_id in (a.run_id, h.id) and o.user_id in (
          select a.user_id union select l.alias_id from aliases l where l.user_id = a.user_id)) as story
     from assignments a join runs r on r.id = a.run_id join experiments e on e.id = r.experiment_id
     join runs h on h.experiment_id = e.holdout_id
     join assignments b on b.run_id = h.id and b.user_id = a.user_id
     join variants v on v.id = b.variant_id and v.is_control
     where a.source = 'hash' and (b.source = 'hash' and a.assigned_at > b.assigned_at
       or b.source = 'alias' and a.assigned_at > interval '1 second' + (
         select max(l.created_at) from aliases l where l.user_id = a.user_id))`,
    platform.databaseUrl,
  )
  return [
    ...inLayer.map((row) => `${row.user_id} was drawn in experiment ${row.drawn}, and is in ${row.other} of its layer`),
    ...held.map(
      (row) => `${row.user_id} is held, and was drawn in experiment ${row.experiment_id} afterwards:\n  ${row.story}`,
    ),
  ]
}
