import type { BenchPlatform } from './platform.ts'

/** Experiments that run, users who are in all of them, and events of theirs: what benches of events have in common. */

export const TYPES = ['view', 'click', 'add_to_cart', 'conversion'] as const
const RUNNING_DAYS = 30
/** Untagged events name no experiment and count in all of them. */
export const UNTAGGED_SHARE = 0.3

export type World = { experiments: { id: number; runId: number; variantIds: [number, number] }[]; users: number }

/** Half of the users in each variant of every experiment, met when these started. */
export async function makeWorld(
  platform: BenchPlatform,
  options: { experiments: number; users: number },
): Promise<World> {
  const experiments: World['experiments'] = []
  while (experiments.length < options.experiments) {
    const id = await platform.makeExperiment()
    await platform.post(`/experiments/${id}/start`, {})
    const [run] = await platform.query<{ id: number }>('select r.id from runs r where r.experiment_id = $1', [id])
    const variants = await platform.query<{ id: number }>(
      'select v.id from variants v where v.experiment_id = $1 order by v.id',
      [id],
    )
    experiments.push({ id, runId: run?.id ?? 0, variantIds: [variants[0]?.id ?? 0, variants[1]?.id ?? 0] })
  }
  const since = `now_ms() - make_interval(days => ${RUNNING_DAYS})`
  await platform.query(`update runs set started_at = ${since}`)
  await platform.query(`update allocation_periods set "from" = ${since}`)
  const [runIds, controls, treatments] = [
    experiments.map(({ runId }) => runId),
    experiments.map(({ variantIds }) => variantIds[0]),
    experiments.map(({ variantIds }) => variantIds[1]),
  ]
  await platform.query(
    `insert into assignments (run_id, user_id, variant_id, period, source, assigned_at, definition_version, exposed_at, exposure_source, dimensions)
     select e.run_id, 'user_' || n, case when (n / 7 + e.run_id) % 2 = 0 then e.control else e.treatment end, 1, 'hash', ${since}, 1,
       ${since}, 'check', jsonb_build_object('country_code', case when n % 3 = 0 then 'US' else 'DE' end)
     from generate_series(1, $4::int) n cross join unnest($1::int[], $2::int[], $3::int[]) as e (run_id, control, treatment)
     order by n, e.run_id`,
    [runIds, controls, treatments, options.users],
  )
  await platform.query('analyze')
  return { experiments, users: options.users }
}

/** Draws whole numbers below a bound, the same for the same seed (xorshift). */
export function createDraw(seed: number): (bound: number) => number {
  let state = seed | 0 || 1
  return (bound) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % bound
  }
}

/** An event as it is posted: of a random user, 30 % untagged, half of the others naming the variant. */
export function randomEvent(
  world: World,
  draw: (bound: number) => number,
  eventId: string | undefined,
  users = world.users,
) {
  const user_id = `user_${1 + draw(users)}`
  const type = TYPES[draw(TYPES.length)] as string
  const event: Record<string, unknown> = { user_id, type }
  if (draw(100) >= UNTAGGED_SHARE * 100) {
    const experiment = world.experiments[draw(world.experiments.length)] as World['experiments'][number]
    event.experiment_id = experiment.id
    if (draw(2) === 0) {
      const number = Number(user_id.slice('user_'.length))
      event.variant_id = experiment.variantIds[(Math.floor(number / 7) + experiment.runId) % 2]
    }
  }
  if (type === 'conversion') event.properties = { value: draw(10_000) / 100 }
  if (eventId !== undefined) event.event_id = eventId
  return event
}

/** Stores events of the same kind by SQL, past the platform: some hundred thousand a statement, spread over the last days. */
export async function loadEvents(platform: BenchPlatform, world: World, count: number) {
  const ids = world.experiments.map(({ id }) => id)
  const piece = 250_000
  for (let stored = 0; stored < count; stored += piece)
    await platform.query(
      `insert into events (user_id, experiment_id, variant_id, type, timestamp, received_at, properties)
       select 'user_' || drawn.n, e.id, a.variant_id, drawn.type, at, at,
         case when drawn.type = 'conversion' then jsonb_build_object('value', round((random() * 100)::numeric, 2)) end
       from (
         select 1 + floor(random() * $1)::int as n, ($2::text[])[1 + floor(random() * 4)::int] as type, random() as tagged,
           1 + floor(random() * $3)::int as which, now_ms() - random() * interval '20 days' as at
         from generate_series(1, $4::int)) drawn
       left join lateral (select ($5::int[])[drawn.which] as id where drawn.tagged >= ${UNTAGGED_SHARE}) e on true
       left join lateral (
         select a.variant_id from runs r join assignments a on a.run_id = r.id
         where r.experiment_id = e.id and a.user_id = 'user_' || drawn.n offset 0) a on true`,
      [world.users, TYPES, ids.length, Math.min(piece, count - stored), ids],
    )
}
