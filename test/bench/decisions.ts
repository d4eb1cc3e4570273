import { median } from 'simple-statistics'
import { bulkOfTwenty, singleExperiment, singleFlag } from './flag-cases.ts'
import { CHECK, findGenerator, type Generator, type Traffic } from './load.ts'
import { type BenchPlatform, openPlatform } from './platform.ts'
import { selfTimes } from './profile.ts'
import { machine, readOptions, round, writeResult } from './report.ts'
import type { ServerProcess } from './server-process.ts'

const HELP = `npm run bench -- decisions [options]

How many decisions does one process answer, compared with bare node:http and plain Fastify?
POST /api/experiments/check-eligibility, PostgreSQL + Redis.
  one, ten  known users, with a stored assignment in each of the experiments asked for
  first     new users, in one experiment: every decision is committed, with its fence, before it is answered
OpenFeature's remote evaluation protocol, as a server provider sends it, for known users:
  ofrep       one experiment, read as a flag
  ofrep-flag  one flag with a condition and a rollout
  ofrep-bulk  all of 12 flags and 8 experiments

  --cases one,ten,first,ofrep,ofrep-flag,ofrep-bulk
  --profile CASE         a CPU profile of the server under this case's load instead of the comparison
  --rounds 5             each round loads every server once
  --seconds 4            of load per server and round
  --users 20000          known users, drawn at random
  --connections 64       of known users
  --first-connections 256`

/** The targets of the platform, by case: a share of node:http's rate, or a rate. */
const TARGETS: Record<string, string> = {
  one: 'at least 0.70',
  first: 'at least 6,000 decisions per second',
  ofrep: 'at least 0.60',
}
const WARM_UP_SECONDS = 3

const DEFAULTS = {
  cases: 'one,ten,first,ofrep,ofrep-flag,ofrep-bulk',
  profile: '',
  rounds: 5,
  seconds: 4,
  users: 20_000,
  connections: 64,
  'first-connections': 256,
}
type Options = typeof DEFAULTS
/**
 * A case. `next` makes the traffic of the next load; `verify` throws if the stored decisions differ from the answers.
 */
export type Case = {
  title: string
  answer: unknown
  next: () => Traffic
  verify?: (traffic: Traffic, answered: number, unanswered: number) => Promise<void>
}
type Row = { round: number; server: string; perSecond: number; cpuMicros: number; p50_ms: number; p99_ms: number }

export async function benchDecisions(args: string[]): Promise<void> {
  const options = readOptions(args, HELP, DEFAULTS)
  if (!options) return
  const cases: Record<string, (platform: BenchPlatform, options: Options) => Promise<Case>> = {
    one: (platform) => knownUsers(platform, options, 1),
    ten: (platform) => knownUsers(platform, options, 10),
    first: newUsers,
    ofrep: singleExperiment,
    'ofrep-flag': singleFlag,
    'ofrep-bulk': bulkOfTwenty,
  }
  const names = (options.profile || options.cases).split(',')
  for (const name of names)
    if (!cases[name]) throw new Error(`--cases: ${name} is none of ${Object.keys(cases).join(', ')}`)
  const generator = await findGenerator()
  for (const name of names) {
    const platform = await openPlatform()
    try {
      const found = (await cases[name]?.(platform, options)) as Case
      if (options.profile) await profile(platform.server, generator, found, options)
      else await compare(name, platform, generator, found, options)
    } finally {
      await platform.close()
    }
  }
}

async function knownUsers(platform: BenchPlatform, options: Options, experiments: number): Promise<Case> {
  const experimentIds: number[] = []
  while (experimentIds.length < experiments) experimentIds.push(await platform.makeExperiment())
  let enrolled = 0
  const enrol = async () => {
    while (enrolled < options.users) await check(platform, `user_${++enrolled}`, experimentIds, { attributes: {} })
  }
  await Promise.all(Array.from({ length: options.connections }, enrol))
  const { token } = platform
  const { users: known, connections } = options
  return {
    title: `Decisions for ${known} known users at random, ${experiments} experiments per check`,
    answer: await check(platform, 'user_1', experimentIds),
    next: () => ({ token, experimentIds, connections, users: { known } }),
  }
}

async function newUsers(platform: BenchPlatform, options: Options): Promise<Case> {
  const experimentIds = [await platform.makeExperiment()]
  let loads = 0
  return {
    title: 'First-time decisions in one experiment, each committed and fenced before it is answered',
    answer: await check(platform, 'somebody', experimentIds, { attributes: {} }),
    next: () => ({
      token: platform.token,
      experimentIds,
      connections: options['first-connections'],
      users: { newWithPrefix: `new_${++loads}_` },
    }),
    verify: async ({ users }, answered, unanswered) => {
      const prefix = 'newWithPrefix' in users ? users.newWithPrefix : ''
      const [stored] = await platform.query<{ rows: number }>(
        'select count(*)::int as rows from assignments a where starts_with(a.user_id, $1)',
        [prefix],
      )
      const rows = stored?.rows ?? 0
      if (rows < answered || rows > answered + unanswered)
        throw new Error(`${answered} users got a variant, but ${rows} assignments are stored`)
    },
  }
}

async function check(platform: BenchPlatform, user_id: string, experiment_ids: number[], more: object = {}) {
  const body = { user_id, experiment_ids, ...more }
  const answer = await platform.post<{ eligible_experiment_ids: object }>('/experiments/check-eligibility', body)
  if (Object.keys(answer.eligible_experiment_ids).length !== experiment_ids.length)
    throw new Error(`${user_id} is not in every experiment: ${JSON.stringify(answer)}`)
  return answer
}

async function measure(server: ServerProcess, generator: Generator, traffic: Traffic, seconds: number) {
  const before = await server.cpuMicros()
  const load = await generator.load(server.url, traffic, seconds)
  const cpuMicros = ((await server.cpuMicros()) - before) / load.requests
  if (load.failed > 0) throw new Error(`${load.failed} requests failed, and ${load.requests} succeeded`)
  return { ...load, perSecond: load.requests / load.seconds, cpuMicros }
}

async function measurePlatform(server: ServerProcess, generator: Generator, found: Case, seconds: number) {
  const traffic = found.next()
  const measured = await measure(server, generator, traffic, seconds)
  await found.verify?.(traffic, measured.requests, measured.unanswered)
  return measured
}

/** Compares the servers. Every round loads every server in turn, so that noise of the machine affects all of them. */
async function compare(
  name: string,
  platform: BenchPlatform,
  generator: Generator,
  found: Case,
  options: Options,
): Promise<void> {
  const ANSWER = JSON.stringify(found.answer)
  const ROUTE = found.next().asks?.path ?? CHECK
  const bareHttp = await platform.startBeside('bare-http.ts', { ANSWER })
  const fastify = await platform.startBeside('plain-fastify.ts', { ANSWER, ROUTE })
  const servers: Record<string, (seconds: number) => ReturnType<typeof measure>> = {
    'node:http': (seconds) => measure(bareHttp, generator, found.next(), seconds),
    Fastify: (seconds) => measure(fastify, generator, found.next(), seconds),
    'the platform': (seconds) => measurePlatform(platform.server, generator, found, seconds),
  }
  for (const load of Object.values(servers)) await load(WARM_UP_SECONDS)
  const rows: Row[] = []
  for (let round = 1; round <= options.rounds; round++)
    for (const [server, load] of Object.entries(servers)) {
      const { perSecond, cpuMicros, p50_ms, p99_ms } = await load(options.seconds)
      rows.push({ round, server, perSecond, cpuMicros, p50_ms, p99_ms })
    }

  const of = (server: string) => rows.filter((row) => row.server === server)
  const bare = of('node:http')
  const ratios = (server: string, value: (row: Row) => number) =>
    of(server).map((row, index) => value(row) / value(bare[index] as Row))
  const summary = Object.keys(servers).map((server) => ({
    server,
    'requests/s': Math.round(median(of(server).map((row) => row.perSecond))),
    'of node:http': round(median(ratios(server, (row) => row.perSecond)), 3),
    'CPU µs/request': round(median(of(server).map((row) => row.cpuMicros)), 1),
    'least CPU µs': round(Math.min(...of(server).map((row) => row.cpuMicros)), 1),
    'CPU of node:http': round(median(ratios(server, (row) => row.cpuMicros)), 2),
    'p50 ms': round(median(of(server).map((row) => row.p50_ms)), 2),
    'p99 ms': round(median(of(server).map((row) => row.p99_ms)), 2),
  }))
  const { connections } = found.next()
  console.log(
    `\n${found.title}: ${generator.name}, ${connections} connections; ` +
      `${options.rounds} rounds of ${options.seconds} s, medians`,
  )
  console.table(summary)
  const spread = ratios('the platform', (row) => row.perSecond).map((ratio) => round(ratio, 3))
  const target = TARGETS[name] ? `; target: ${TARGETS[name]}` : ''
  console.log(`The platform as a share of node:http, by round: ${spread.join(', ')}${target}`)
  if (found.verify) console.log('Every answered decision is stored once')
  writeResult(`decisions-${name}`, { generator: generator.name, options, machine: machine(), summary, rows })
}

async function profile(server: ServerProcess, generator: Generator, found: Case, options: Options) {
  await measurePlatform(server, generator, found, WARM_UP_SECONDS)
  await server.ask('profile')
  const { perSecond, cpuMicros } = await measurePlatform(server, generator, found, options.seconds * options.rounds)
  const profiled = (await server.ask('profiled')) as Parameters<typeof selfTimes>[0]
  const { functions, modules, callers, idlePercent } = selfTimes(profiled)
  const table = (title: string, shares: typeof functions, count: number) => {
    console.log(`\n${title}`)
    for (const { where, percent } of shares.slice(0, count))
      console.log(`${percent.toFixed(1).padStart(6)} %  ${where}`)
  }
  console.log(
    `${found.title}: ${Math.round(perSecond)}/s and ${round(cpuMicros, 1)} µs of CPU each while profiled; ` +
      `idle ${idlePercent.toFixed(1)} % of the time`,
  )
  table('Self time by function, of the busy time', functions, 45)
  table('By module', modules, 25)
  table('By the package or file that called, with what Node did for it', callers, 25)
  writeResult(`decisions-${options.profile}`, profiled, 'cpuprofile')
}
