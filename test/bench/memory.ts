import { type Visits, visitEach } from './each-user.ts'
import type { Memory } from './observe.ts'
import { type BenchPlatform, openPlatform } from './platform.ts'
import { machine, readOptions, round, writeResult } from './report.ts'

const HELP = `npm run bench -- memory [options]

How much memory does one process take that serves a million users' assignments through its bounded cache? PostgreSQL
stores an assignment of each user in one running experiment. Every user is checked once, in random order; then the first
ones are checked again.

  --users 1000000
  --again 100000      users checked a second time
  --connections 128`

const DEFAULTS = { users: 1_000_000, again: 100_000, connections: 128 }
/** Memory is measured after these shares of the users. */
const STOPS = [0.1, 0.2, 0.5, 1]
const MEGABYTE = 1024 ** 2

export async function benchMemory(args: string[]): Promise<void> {
  const options = readOptions(args, HELP, DEFAULTS)
  if (!options) return
  const platform = await openPlatform()
  try {
    const experimentId = await platform.makeExperiment()
    await assignEverybody(platform, experimentId, options.users)
    const { token } = platform
    const visits: Visits = { ...options, token, experimentIds: [experimentId] }
    const visit = (from: number, to: number) => visitEach(platform.server.url, visits, from, to)

    const rows = [row('started', 0, 0, await readMemory(platform))]
    let served = 0
    for (const stop of STOPS) {
      const to = Math.round(stop * options.users)
      const seconds = await visit(served, to)
      rows.push(row(`${to} users served`, to - served, seconds, await readMemory(platform)))
      served = to
    }
    const seconds = await visit(0, options.again)
    rows.push(row(`${options.again} of them again`, options.again, seconds, await readMemory(platform)))

    await platform.server.ask('collect')
    rows.push(row('garbage collected', 0, 0, await readMemory(platform)))

    console.log(
      `\nMemory of one process: ${options.users} users, each checked once; ${options.connections} connections`,
    )
    console.table(rows)
    writeResult('memory', { options, machine: machine(), rows })
  } finally {
    await platform.close()
  }
}

const readMemory = async (platform: BenchPlatform) => (await platform.server.ask('memory')) as Memory

const row = (when: string, requests: number, seconds: number, memory: Memory) => ({
  when,
  'RSS MB': Math.round(memory.rssBytes / MEGABYTE),
  'peak RSS MB': Math.round(memory.peakRssBytes / MEGABYTE),
  'heap MB': Math.round(memory.heapBytes / MEGABYTE),
  seconds: round(seconds, 1),
  'decisions/s': seconds > 0 ? Math.round(requests / seconds) : null,
})

/** Starts the experiment by one user's check, and copies this assignment for all users, half of them per variant. */
async function assignEverybody({ post, query }: BenchPlatform, experimentId: number, users: number) {
  const check = { user_id: 'somebody', experiment_ids: [experimentId], attributes: {} }
  await post('/experiments/check-eligibility', check)
  await query(
    `insert into assignments
    select copy.*
    from assignments a
    cross join generate_series(1, $2::int) n
    cross join lateral jsonb_populate_record(a, jsonb_build_object('user_id', 'user_' || n, 'variant_id', (
      select v.id from variants v where v.experiment_id = $1 order by v.id offset n % 2 limit 1))) copy
    where a.user_id = $3`,
    [experimentId, users, check.user_id],
  )
  await query('analyze assignments')
}
