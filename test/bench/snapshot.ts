import { median } from 'simple-statistics'
import { openDatabase } from '../../server/database/orm.ts'
import { loadDefinitions } from '../../server/definitions/queries.ts'
import { compileSnapshot } from '../../server/definitions/snapshot.ts'
import { findGenerator } from './load.ts'
import { type BenchPlatform, openPlatform } from './platform.ts'
import { machine, readOptions, round, writeResult } from './report.ts'

const HELP = `npm run bench -- snapshot [options]

How long does a process take to load all definitions, and how long is its event loop blocked while it replaces them
under traffic? The definitions are running experiments of two variants. Half have a condition, half a segment of their
own.

  --experiments 5000
  --rounds 7            loads, and changes under traffic
  --connections 16      of known users, while definitions are replaced`

const DEFAULTS = { experiments: 5000, rounds: 7, connections: 16 }
const KNOWN_USERS = 1000
const SWAP_SECONDS = 2
/** The time from the start of the traffic to the change of a definition. */
const CHANGE_AFTER_MS = 700

export async function benchSnapshot(args: string[]): Promise<void> {
  const options = readOptions(args, HELP, DEFAULTS)
  if (!options) return
  const platform = await openPlatform()
  try {
    const asked = await platform.makeExperiment()
    for (let user = 1; user <= KNOWN_USERS; user++)
      await platform.post('/experiments/check-eligibility', {
        user_id: `user_${user}`,
        experiment_ids: [asked],
        attributes: {},
      })
    await defineExperiments(platform, options.experiments)
    const loads = await timeLoads(platform, options.rounds)
    const stalls = await timeStalls(platform, asked, options)

    const parts = (name: keyof Load) => loads.map((load) => load[name])
    const summary = [
      line('load from PostgreSQL, ms', parts('loadMs')),
      line('compile, ms', parts('compileMs')),
      line('load and compile, ms', parts('ms')),
      line('longest stall without a change, ms', stalls.quiet),
      line('longest stall while swapped, ms', stalls.swapping),
      line('answer of the change, ms', stalls.changes),
    ]
    console.log(
      `\nA snapshot of ${options.experiments} experiments, ${Math.round((loads[0]?.bytes ?? 0) / 1024)} KB of JSON; ` +
        `stalls under ${stalls.perSecond} decisions/s; ${options.rounds} rounds`,
    )
    console.table(summary)
    writeResult('snapshot', { options, machine: machine(), summary, loads, stalls })
  } finally {
    await platform.close()
  }
}

const line = (what: string, values: number[]) => ({
  what,
  median: round(median(values), 1),
  least: round(Math.min(...values), 1),
  most: round(Math.max(...values), 1),
})

/** Stores definitions by SQL as the API would. A change through the API then notifies the process. */
async function defineExperiments({ query, post }: BenchPlatform, count: number) {
  await query(
    `with numbered as (
      select n, 'bench-' || n as name, n % 2 = 0 as conditional,
        jsonb_build_object('country_code', jsonb_build_object('$in', jsonb_build_array('US', chr(65 + n % 26) || chr(65 + n / 26 % 26))),
          'is_premium', true) as rules
      from generate_series(1, $1::int) n),
    segment as (
      insert into segments (name, rules) select s.name, s.rules from numbered s where not s.conditional returning id, name),
    experiment as (
      insert into experiments (name, key, status, started_at, condition)
      select e.name, e.name, 'running', now_ms(), case when e.conditional then e.rules end from numbered e
      returning id, name),
    variant as (
      insert into variants (experiment_id, name, percent_allocated, is_control, payload)
      select e.id, v.name, 50, v.name = 'control', jsonb_build_object('color', v.name)
      from experiment e cross join (values ('control'), ('treatment')) v (name)),
    targeted as (
      insert into experiment_segments (experiment_id, segment_id)
      select e.id, s.id from experiment e join segment s on s.name = e.name),
    run as (insert into runs (experiment_id, number) select e.id, 1 from experiment e returning id)
    insert into allocation_periods (run_id, number, shares) select r.id, 1, '[]' from run r`,
    [count],
  )
  for (const table of ['experiments', 'variants', 'runs', 'allocation_periods', 'experiment_segments', 'segments'])
    await query(`analyze ${table}`)
  await post('/segments', { name: 'notifies the process' })
}

type Load = { ms: number; loadMs: number; compileMs: number; bytes: number }

async function timeLoads({ databaseUrl }: BenchPlatform, rounds: number): Promise<Load[]> {
  const database = await openDatabase({ url: databaseUrl, pool: 2 })
  const loads: Load[] = []
  try {
    for (let round = 0; round <= rounds; round++) {
      const started = performance.now()
      const definitions = await loadDefinitions(database.orm.em.fork())
      const loaded = performance.now()
      compileSnapshot(definitions, (_, error) => {
        throw error
      })
      const compiled = performance.now()
      // The first load does not count, because it also opens the connection.
      if (round > 0)
        loads.push({
          ms: compiled - started,
          loadMs: loaded - started,
          compileMs: compiled - loaded,
          bytes: JSON.stringify(definitions).length,
        })
    }
  } finally {
    await database.close()
  }
  return loads
}

/** Measures the longest stall of the server's event loop under traffic, in rounds with and without a change. */
async function timeStalls(platform: BenchPlatform, experimentId: number, options: typeof DEFAULTS) {
  const generator = await findGenerator()
  const { server, token } = platform
  const traffic = {
    token,
    experimentIds: [experimentId],
    connections: options.connections,
    users: { known: KNOWN_USERS },
  }
  const perSecond: number[] = []
  const underTraffic = async (change: () => Promise<unknown>) => {
    const load = generator.load(server.url, traffic, SWAP_SECONDS)
    await new Promise((resolve) => setTimeout(resolve, CHANGE_AFTER_MS / 2))
    await server.ask('stalls')
    await new Promise((resolve) => setTimeout(resolve, CHANGE_AFTER_MS / 2))
    const started = performance.now()
    await change()
    const ms = performance.now() - started
    const { requests, seconds, failed } = await load
    if (failed > 0) throw new Error(`${failed} requests failed`)
    perSecond.push(requests / seconds)
    return { stall: (await server.ask('stalled')) as number, ms }
  }
  const quiet: number[] = []
  const swapping: number[] = []
  const changes: number[] = []
  await underTraffic(async () => {})
  for (let round = 1; round <= options.rounds; round++) {
    quiet.push((await underTraffic(async () => {})).stall)
    const swapped = await underTraffic(() => platform.post('/segments', { name: `swap ${round}` }))
    swapping.push(swapped.stall)
    changes.push(swapped.ms)
  }
  return { quiet, swapping, changes, perSecond: Math.round(median(perSecond)) }
}
