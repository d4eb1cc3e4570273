import type { Enrolled, Population } from './event-traffic.ts'
import type { BenchPlatform } from './platform.ts'

/**
 * Starts experiments by one user's check, and assigns all users in each experiment. Users with an even number get the
 * first variant, the others the second.
 * @param metricIds metrics that are attached to each experiment before it starts
 */
export async function enrolEverybody(
  platform: BenchPlatform,
  count: number,
  users: number,
  metricIds: readonly number[] = [],
): Promise<Population> {
  const { post, query } = platform
  const experimentIds: number[] = []
  while (experimentIds.length < count) {
    const id = await platform.makeExperiment()
    if (metricIds.length > 0)
      await platform.put(`/experiments/${id}/metrics`, {
        metrics: metricIds.map((metric_id, index) => ({ metric_id, role: index === 0 ? 'primary' : 'secondary' })),
      })
    experimentIds.push(id)
  }
  await post('/experiments/check-eligibility', {
    user_id: 'somebody',
    experiment_ids: experimentIds,
    attributes: {},
  })
  const experiments: Enrolled[] = []
  for (const experimentId of experimentIds) {
    const variants = await query<{ id: number }>(
      'select v.id from variants v where v.experiment_id = $1 order by v.id',
      [experimentId],
    )
    const [even, odd] = variants.map((variant) => variant.id) as [number, number]
    experiments.push({ experimentId, variantIds: [even, odd] })
  }
  // One statement inserts all assignments, so that the totals count each user in one transaction.
  await query(
    `insert into assignments (run_id, user_id, variant_id, period, source, assigned_at, definition_version, exposed_at, exposure_source)
    select r.id, 'user_' || n, v.ids[1 + n % 2], 1, 'hash', now_ms(), e.version, now_ms(), 'check'
    from generate_series(1, $1::int) n cross join experiments e join runs r on r.experiment_id = e.id
    cross join lateral (select array_agg(v.id order by v.id) as ids from variants v where v.experiment_id = e.id) v
    order by n, e.id`,
    [users],
  )
  await query('vacuum analyze assignments')
  await settle(platform)
  return { experiments, users }
}

/** The events that the totals do not contain yet: the age of the oldest one, and their number. */
export type UnfoldedEvents = { lag_seconds: number; count: number }

/** The count stops here, because a longer count would slow down the measured platform. */
const MAX_COUNT = 200_000

export async function readUnfolded({ query }: BenchPlatform): Promise<UnfoldedEvents> {
  const [unfolded] = await query<UnfoldedEvents>(
    `select coalesce(extract(epoch from clock_timestamp() - (
        select e.received_at from events e where (e.xid, e.id) > (f.event_xid, f.event_id)
        order by e.xid, e.id limit 1)), 0)::float8 as lag_seconds,
      (select count(*) from (
        select 1 from events e where (e.xid, e.id) > (f.event_xid, f.event_id)
        order by e.xid, e.id limit ${MAX_COUNT}) unfolded)::int as count
    from fold_state f`,
  )
  return unfolded as UnfoldedEvents
}

const POLL_MS = 250
/** The wait ends after this many polls without progress of the fold. */
const MAX_STUCK_POLLS = 240

/** Waits until the fold has caught up, so that one round does not slow down the next. */
export async function settle({ query }: BenchPlatform): Promise<void> {
  let before = ''
  for (let stuck = 0; stuck < MAX_STUCK_POLLS; ) {
    const [state] = await query<{ cursor: string; left: boolean }>(
      `select concat_ws(' ', f.event_xid, f.event_id, f.assignment_xid) as cursor,
        coalesce((select true from events e where (e.xid, e.id) > (f.event_xid, f.event_id) order by e.xid, e.id limit 1),
          (select true from assignments a where a.xid >= f.assignment_xid order by a.xid limit 1), false) as left
      from fold_state f`,
    )
    if (!state?.left) return
    stuck = state.cursor === before ? stuck + 1 : 0
    before = state.cursor
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}
