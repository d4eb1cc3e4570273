import { median } from 'simple-statistics'
import { knownUserCases, newUsers } from './check-cases.ts'
import { compareFirst } from './first-decisions.ts'
import { bulkOfSome, bulkOfTwenty, singleExperiment, singleFlag } from './flag-cases.ts'
import { CHECK, findGenerator, type Generator, type Traffic } from './load.ts'
import { type BenchPlatform, openPlatform } from './platform.ts'
import { selfTimes } from './profile.ts'
import { machine, readOptions, round, writeResult } from './report.ts'
import type { ServerProcess } from './server-process.ts'

const HELP = `npm run bench -- decisions [options]

How many decisions does one process answer, compared with bare node:http and plain Fastify?
POST /api/experiments/check-eligibility, PostgreSQL + Redis.
Known users, with a stored assignment in each experiment asked for:
  attributes  six attributes: country, plan, app version, device, a date, a boolean
  condition   the same, and a condition on two of them
  three       the same attributes, three experiments
  leave-out   an experiment that leaves out users who stop meeting its condition
  partly      three experiments, two of which are for other users
  one, ten    no attributes
New users:
  first       in one experiment: every decision is committed, with its fence, before it is answered; beside bare
              commits of one row instead of the servers
OpenFeature's remote evaluation protocol, as a server provider sends it, for known users:
  ofrep       one experiment, read as a flag
  ofrep-flag  one flag with a condition and a rollout
  ofrep-bulk  all of 12 flags and 8 experiments
  ofrep-some  the same, and 4 of the experiments are drafts or for other users

  --cases attributes,condition,three,leave-out,partly,one,ten,first,ofrep,ofrep-flag,ofrep-bulk,ofrep-some
  --profile CASE         a CPU profile of the server under this case's load instead of the comparison
  --rounds 5             each round loads every server once
  --seconds 4            of load per server and round
  --users 20000          known users, drawn at random
  --connections 64       of known users
  --first-connections 16,64,256`

/** The targets of the platform, by case: a share of node:http's rate, or a rate. */
const TARGETS: Record<string, string> = {
  attributes: 'at least 0.60',
  condition: 'at least 0.60',
  three: 'at least 0.60',
  'leave-out': 'at least 0.50',
  one: 'at least 0.70',
  ofrep: 'at least 0.60',
  'ofrep-bulk': 'at least 0.35',
}
const WARM_UP_SECONDS = 3

const DEFAULTS = {
  cases: 'attributes,condition,three,leave-out,partly,one,ten,first,ofrep,ofrep-flag,ofrep-bulk,ofrep-some',
  profile: '',
  rounds: 5,
  seconds: 4,
  users: 20_000,
  connections: 64,
  'first-connections': '16,64,256',
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
    ...knownUserCases,
    first: (platform) => newUsers(platform, Number(options['first-connections'].split(',').at(-1))),
    ofrep: singleExperiment,
    'ofrep-flag': singleFlag,
    'ofrep-bulk': bulkOfTwenty,
    'ofrep-some': bulkOfSome,
  }
  const names = (options.profile || options.cases).split(',')
  for (const name of names)
    if (!cases[name]) throw new Error(`--cases: ${name} is none of ${Object.keys(cases).join(', ')}`)
  const generator = await findGenerator()
  for (const name of names) {
    const platform = await openPlatform()
    try {
      if (name === 'first' && !options.profile) {
        const connections = options['first-connections'].split(',').map(Number)
        const caseFor = (count: number) => newUsers(platform, count)
        const measure = (found: Case, seconds: number) => measurePlatform(platform.server, generator, found, seconds)
        await compareFirst({ ...options, platform, generator, connections, caseFor, measure })
        continue
      }
      const found = (await cases[name]?.(platform, options)) as Case
      if (options.profile) await profile(platform.server, generator, found, options)
      else await compare(name, platform, generator, found, options)
    } finally {
      await platform.close()
    }
  }
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
