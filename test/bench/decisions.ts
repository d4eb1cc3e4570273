import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { administer, databaseUrl, REDIS_URL } from '../support/services.ts'
import { findGenerator, type Generator, type Traffic } from './load.ts'
import { selfTimes } from './profile.ts'
import { type ServerProcess, startServer } from './server-process.ts'

const HELP = `npm run bench -- decisions [options]

How many decisions for known users does one process answer, beside bare node:http and plain Fastify?
POST /api/experiments/check-eligibility, PostgreSQL + Redis, every user with a stored assignment in every experiment.

  --profile          a CPU profile of the server under this load instead of the comparison
  --rounds 5         each round loads every server once
  --seconds 4        of load per server and round
  --users 20000      known users, drawn at random
  --experiments 3    asked for at once
  --connections 64`

/** What is wanted of the platform's requests per second beside bare node:http's. */
const TARGET = 0.45
const WARM_UP_SECONDS = 3
const results = new URL('./results/', import.meta.url)

type Options = { rounds: number; seconds: number; users: number; experiments: number; connections: number }
type Row = { round: number; server: string; perSecond: number; cpuMicros: number; p50_ms: number; p99_ms: number }

export async function benchDecisions(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      help: { type: 'boolean', default: false },
      profile: { type: 'boolean', default: false },
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '4' },
      users: { type: 'string', default: '20000' },
      experiments: { type: 'string', default: '3' },
      connections: { type: 'string', default: '64' },
    },
  })
  if (values.help) return console.log(HELP)
  const options: Options = {
    rounds: Number(values.rounds),
    seconds: Number(values.seconds),
    users: Number(values.users),
    experiments: Number(values.experiments),
    connections: Number(values.connections),
  }
  const generator = await findGenerator()
  const name = `experiment_bench_${process.pid}`
  await administer(`create database ${name}`)
  const started: ServerProcess[] = []
  try {
    const start = async (script: string, environment: Record<string, string>) => {
      const server = await startServer(new URL(script, import.meta.url), environment)
      started.push(server)
      return server
    }
    const platform = await start('../../server/main.ts', {
      DATABASE_URL: databaseUrl(name),
      REDIS_URL,
      LOG_LEVEL: 'warn',
      KEY_MANAGEMENT: 'open',
      WORKERS: '1',
    })
    const { traffic, answer } = await fill(platform, options)
    if (values.profile) return await profile(platform, generator, traffic, options)
    const ANSWER = JSON.stringify(answer)
    await compare(
      new Map([
        ['node:http', await start('./servers/bare-http.ts', { ANSWER })],
        ['Fastify', await start('./servers/plain-fastify.ts', { ANSWER })],
        ['the platform', platform],
      ]),
      generator,
      traffic,
      options,
    )
  } finally {
    await Promise.all(started.map((server) => server.stop()))
    await administer(`drop database if exists ${name} with (force)`)
  }
}

/** Experiments of two halves, and users with an assignment in each. @returns also a typical answer */
async function fill({ url }: ServerProcess, options: Options): Promise<{ traffic: Traffic; answer: unknown }> {
  let token = ''
  async function post<T>(path: string, body: object): Promise<T> {
    const response = await fetch(`${url}/api${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
      body: JSON.stringify(body),
    })
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
    return (await response.json()) as T
  }
  token = (await post<{ key: string }>('/auth/keys', { name: 'bench' })).key
  const experimentIds: number[] = []
  for (let number = 1; number <= options.experiments; number++) {
    const { id } = await post<{ id: number }>('/experiments', { name: `experiment ${number}` })
    await post(`/experiments/${id}/variants`, { name: 'control', percent_allocated: 50 })
    await post(`/experiments/${id}/variants`, { name: 'treatment', percent_allocated: 50 })
    experimentIds.push(id)
  }
  const check = (user: number, more: object) =>
    post<{ eligible_experiment_ids: object }>('/experiments/check-eligibility', {
      user_id: `user_${user}`,
      experiment_ids: experimentIds,
      ...more,
    })
  let next = 1
  const enrol = async () => {
    while (next <= options.users) await check(next++, { attributes: {} })
  }
  await Promise.all(Array.from({ length: options.connections }, enrol))
  const answer = await check(1, {})
  if (Object.keys(answer.eligible_experiment_ids).length !== options.experiments)
    throw new Error(`A known user is not in every experiment: ${JSON.stringify(answer)}`)
  const { users, connections } = options
  return { traffic: { token, users, experimentIds, connections }, answer }
}

async function measure(server: ServerProcess, generator: Generator, traffic: Traffic, seconds: number) {
  const before = await server.cpuMicros()
  const load = await generator.load(server.url, traffic, seconds)
  const cpuMicros = ((await server.cpuMicros()) - before) / load.requests
  if (load.failed > 0) throw new Error(`${load.failed} of ${load.requests} requests failed`)
  return { perSecond: load.requests / load.seconds, cpuMicros, p50_ms: load.p50_ms, p99_ms: load.p99_ms }
}

/** Every round loads every server in turn, so that a noisy machine is noisy for all of them alike. */
async function compare(
  servers: Map<string, ServerProcess>,
  generator: Generator,
  traffic: Traffic,
  options: Options,
): Promise<void> {
  for (const server of servers.values()) await measure(server, generator, traffic, WARM_UP_SECONDS)
  const rows: Row[] = []
  for (let round = 1; round <= options.rounds; round++)
    for (const [name, server] of servers)
      rows.push({ round, server: name, ...(await measure(server, generator, traffic, options.seconds)) })

  const of = (server: string) => rows.filter((row) => row.server === server)
  const bare = of('node:http')
  const ratios = (server: string, value: (row: Row) => number) =>
    of(server).map((row, index) => value(row) / value(bare[index] as Row))
  const summary = [...servers.keys()].map((server) => ({
    server,
    'requests/s': Math.round(median(of(server).map((row) => row.perSecond))),
    'of node:http': round(median(ratios(server, (row) => row.perSecond)), 3),
    'CPU µs/request': round(median(of(server).map((row) => row.cpuMicros)), 1),
    'least CPU µs': round(Math.min(...of(server).map((row) => row.cpuMicros)), 1),
    'CPU of node:http': round(median(ratios(server, (row) => row.cpuMicros)), 2),
    'p50 ms': round(median(of(server).map((row) => row.p50_ms)), 2),
    'p99 ms': round(median(of(server).map((row) => row.p99_ms)), 2),
  }))
  const { users, connections, experimentIds } = traffic
  console.log(
    `\nDecisions for known users: ${generator.name}, ${connections} connections, ${users} users at random, ` +
      `${experimentIds.length} experiments; ${options.rounds} rounds of ${options.seconds} s, medians`,
  )
  console.table(summary)
  const spread = ratios('the platform', (row) => row.perSecond).map((ratio) => round(ratio, 3))
  console.log(`The platform of node:http by round: ${spread.join(', ')}; wanted: at least ${TARGET}`)
  const machine = { node: process.version, cpu: cpus()[0]?.model, cores: cpus().length }
  write('decisions', { generator: generator.name, options, machine, summary, rows })
}

async function profile(server: ServerProcess, generator: Generator, traffic: Traffic, options: Options) {
  await measure(server, generator, traffic, WARM_UP_SECONDS)
  await server.ask('profile')
  const { perSecond } = await measure(server, generator, traffic, options.seconds * options.rounds)
  const profiled = (await server.ask('profiled')) as Parameters<typeof selfTimes>[0]
  const { functions, modules, idlePercent } = selfTimes(profiled)
  const table = (title: string, shares: typeof functions, count: number) => {
    console.log(`\n${title}`)
    for (const { where, percent } of shares.slice(0, count))
      console.log(`${percent.toFixed(1).padStart(6)} %  ${where}`)
  }
  console.log(`${Math.round(perSecond)} requests/s while profiled; idle ${idlePercent.toFixed(1)} % of the time`)
  table('Self time by function, of the busy time', functions, 45)
  table('By module', modules, 25)
  write('decisions', profiled, 'cpuprofile')
}

function write(name: string, content: unknown, extension = 'json') {
  mkdirSync(results, { recursive: true })
  const file = new URL(`${name}-${new Date().toISOString().replace(/[:.]/g, '-')}.${extension}`, results)
  writeFileSync(file, JSON.stringify(content, null, extension === 'json' ? 2 : 0))
  console.log(`\nwrote ${fileURLToPath(file)}`)
}

const round = (value: number, decimals: number) => Number(value.toFixed(decimals))

function median(values: number[]): number {
  const sorted = values.toSorted((one, other) => one - other)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}
