import { median } from 'simple-statistics'
import { type BareTable, openBareTable } from './bare-table.ts'
import { loadEvents } from './event-load.ts'
import { enrolEverybody, readUnfolded, settle, type UnfoldedEvents } from './event-setup.ts'
import { type Body, EVENTS_PER_BATCH, makeBodies, makeEvent, type Population } from './event-traffic.ts'
import type { Memory } from './observe.ts'
import { type BenchPlatform, openPlatform } from './platform.ts'
import { selfTimes } from './profile.ts'
import { machine, readOptions, round, writeResult } from './report.ts'

const HELP = `npm run bench -- events [options]

How many events per second does one process store, compared with PostgreSQL alone and the same rows in a bare table?
PostgreSQL with fsync and synchronous_commit on, and Redis. 5 running experiments, all users assigned in each. Every
event has an event_id; 30 % name no experiment, half of the others name the variant too.
  single  POST /api/events, one event a request
  batch   POST /api/events/batch, 1,000 events a request; also measures how far behind the totals are
  busy    batches by one process and by two, of all users and of 200 only
  memory  batches until --events are stored, and the memory of the process meanwhile
The bare table has the same columns and no index. One Node client sends it 1,000 rows at a time.

  --cases single,batch,busy
  --profile CASE             a CPU profile of the server under this case's load instead of the comparison
  --rounds 5                 in each round every load runs once
  --seconds 5                of load per round
  --users 100000
  --connections 256          of single posts
  --batch-connections 4
  --events 5000000           for the case memory`

const DEFAULTS = {
  cases: 'single,batch,busy',
  profile: '',
  rounds: 5,
  seconds: 5,
  users: 100_000,
  connections: 256,
  'batch-connections': 4,
  events: 5_000_000,
}
type Options = typeof DEFAULTS

const EXPERIMENTS = 5
const BUSY_USERS = 200
const WARM_UP_SECONDS = 3
const SAMPLE_MS = 250
const BODIES = 128
const SINGLE_BODIES = 20_000
const MEGABYTE = 1024 ** 2

type Setup = { platform: BenchPlatform; population: Population; bare: BareTable; options: Options }

export async function benchEvents(args: string[]): Promise<void> {
  const options = readOptions(args, HELP, DEFAULTS)
  if (!options) return
  const cases: Record<string, (setup: Setup) => Promise<void>> = { single, batch, busy, memory }
  const names = (options.profile || options.cases).split(',')
  for (const name of names)
    if (!cases[name]) throw new Error(`--cases: ${name} is none of ${Object.keys(cases).join(', ')}`)
  for (const name of names) {
    const platform = await openPlatform()
    try {
      const population = await enrolEverybody(platform, EXPERIMENTS, options.users)
      const rows = Array.from({ length: BODIES * EVENTS_PER_BATCH }, () => makeEvent(population))
      const bare = await openBareTable(platform.databaseUrl, rows)
      const setup = { platform, population, bare, options }
      await (options.profile ? profile(name, setup) : cases[name]?.(setup))
      await bare.close()
    } finally {
      await platform.close()
    }
  }
}

const singleLoad = ({ platform, population, options }: Setup) => {
  const bodies = makeBodies(population, SINGLE_BODIES, 1, true)
  const { connections } = options
  return (seconds: number) =>
    loadEvents([platform.server.url], { token: platform.token, connections, bodies, single: true, seconds })
}

const batchLoad = ({ platform, population, options }: Setup) => {
  const bodies = makeBodies(population, BODIES, EVENTS_PER_BATCH, false)
  return (seconds: number, events = Number.POSITIVE_INFINITY) => load(platform, options, bodies, [], seconds, events)
}

const load = (
  { server, token }: BenchPlatform,
  options: Options,
  bodies: readonly Body[],
  others: readonly string[],
  seconds: number,
  events = Number.POSITIVE_INFINITY,
) => {
  const urls = [server.url, ...others]
  const connections = options['batch-connections'] * urls.length
  return loadEvents(urls, { token, connections, bodies, single: false, seconds, events })
}

/** Runs every load once per round, so that noise of the machine affects all loads. @returns the rates, by load */
async function rounds(setup: Setup, loads: Record<string, (seconds: number) => Promise<number>>) {
  const { options, platform } = setup
  for (const one of Object.values(loads)) await one(WARM_UP_SECONDS)
  const rates: Record<string, number[]> = Object.fromEntries(Object.keys(loads).map((name) => [name, []]))
  for (let number = 1; number <= options.rounds; number++)
    for (const [name, one] of Object.entries(loads)) {
      await settle(platform)
      rates[name]?.push(await one(options.seconds))
    }
  return rates
}

function report(name: string, title: string, rates: Record<string, number[]>, beside: string, { options }: Setup) {
  const ratios = (of: string) => (rates[of] ?? []).map((rate, index) => rate / (rates[beside]?.[index] ?? rate))
  const summary = Object.entries(rates).map(([of, values]) => ({
    of,
    'events/s': Math.round(median(values)),
    [`of ${beside}`]: round(median(ratios(of)), 3),
    'by round': ratios(of)
      .map((ratio) => round(ratio, 3))
      .join(' '),
  }))
  console.log(`\n${title}; ${options.rounds} rounds of ${options.seconds} s, medians`)
  console.table(summary)
  writeResult(`events-${name}`, { options, machine: machine(), summary, rates })
}

const bareLoads = ({ bare }: Setup) => ({ 'multi-row INSERT': bare.insert, COPY: bare.copy })

async function single(setup: Setup) {
  const send = singleLoad(setup)
  const latencies: string[] = []
  const rates = await rounds(setup, {
    ...bareLoads(setup),
    'the platform': async (seconds) => {
      const { perSecond, p50_ms, p99_ms } = await send(seconds)
      latencies.push(`${round(p50_ms, 1)}/${round(p99_ms, 1)}`)
      return perSecond
    },
  })
  report('single', `Single posts, ${setup.options.connections} connections`, rates, 'multi-row INSERT', setup)
  console.log(`p50/p99 in ms: ${latencies.slice(1).join(', ')}; target: at least 5,000 events per second`)
}

async function batch(setup: Setup) {
  const send = batchLoad(setup)
  const samples: UnfoldedEvents[] = []
  const rates = await rounds(setup, {
    ...bareLoads(setup),
    'the platform': async (seconds) => {
      const stopSampling = sampleUnfolded(setup.platform)
      const { perSecond } = await send(seconds)
      samples.push(...(await stopSampling()))
      return perSecond
    },
  })
  const connections = setup.options['batch-connections']
  report('batch', `Batches of ${EVENTS_PER_BATCH}, ${connections} connections`, rates, 'multi-row INSERT', setup)
  console.log(
    `The totals are behind by ${round(median(samples.map((sample) => sample.lag_seconds)), 2)} s in the median, ` +
      `${round(Math.max(...samples.map((sample) => sample.lag_seconds)), 2)} s at most, ` +
      `${Math.max(...samples.map(({ count }) => count))} events at most; ` +
      'target: at least 0.25 of multi-row INSERT, below 2 s',
  )
}

/** Samples how far behind the totals are. @returns a function that ends the sampling and gives the samples */
function sampleUnfolded(platform: BenchPlatform): () => Promise<UnfoldedEvents[]> {
  const samples: UnfoldedEvents[] = []
  let ended = false
  const sampling = (async () => {
    while (!ended) {
      samples.push(await readUnfolded(platform))
      await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS))
    }
  })()
  return async () => {
    ended = true
    await sampling
    return samples
  }
}

async function busy(setup: Setup) {
  const { platform, population, options } = setup
  const other = await platform.startAnother()
  const of = (users: number) => makeBodies({ ...population, users }, BODIES, EVENTS_PER_BATCH, false)
  const [everybody, few] = [of(population.users), of(BUSY_USERS)]
  const rates = await rounds(setup, {
    'one process, all users': async (seconds) => (await load(platform, options, everybody, [], seconds)).perSecond,
    'two processes, all users': async (seconds) =>
      (await load(platform, options, everybody, [other.url], seconds)).perSecond,
    [`one process, ${BUSY_USERS} users`]: async (seconds) =>
      (await load(platform, options, few, [], seconds)).perSecond,
    [`two processes, ${BUSY_USERS} users`]: async (seconds) =>
      (await load(platform, options, few, [other.url], seconds)).perSecond,
  })
  report('busy', `Batches of ${EVENTS_PER_BATCH} by two processes at once`, rates, 'one process, all users', setup)
}

async function memory(setup: Setup) {
  const { platform, options } = setup
  const send = batchLoad(setup)
  const step = options.events / 10
  const rows = []
  for (let stored = 0; stored < options.events; stored += step) {
    const { perSecond } = await send(Number.POSITIVE_INFINITY, step)
    const { rssBytes, peakRssBytes, heapBytes } = (await platform.server.ask('memory')) as Memory
    rows.push({
      events: stored + step,
      'events/s': Math.round(perSecond),
      'RSS MB': Math.round(rssBytes / MEGABYTE),
      'peak RSS MB': Math.round(peakRssBytes / MEGABYTE),
      'heap MB': Math.round(heapBytes / MEGABYTE),
      'totals behind, s': round((await readUnfolded(platform)).lag_seconds, 2),
    })
  }
  console.log(`\nMemory of one process while it stores ${options.events} events in batches of ${EVENTS_PER_BATCH}`)
  console.table(rows)
  writeResult('events-memory', { options, machine: machine(), rows })
}

async function profile(name: string, setup: Setup) {
  const { server } = setup.platform
  const send = name === 'single' ? singleLoad(setup) : batchLoad(setup)
  await send(WARM_UP_SECONDS)
  await server.ask('profile')
  const before = await server.cpuMicros()
  const { perSecond, events } = await send(setup.options.seconds * setup.options.rounds)
  const cpuMicros = ((await server.cpuMicros()) - before) / events
  const profiled = (await server.ask('profiled')) as Parameters<typeof selfTimes>[0]
  const { functions, modules, callers, idlePercent } = selfTimes(profiled)
  console.log(
    `${name}: ${Math.round(perSecond)} events/s and ${round(cpuMicros, 1)} µs of CPU each while profiled; ` +
      `idle ${idlePercent.toFixed(1)} % of the time`,
  )
  for (const [title, shares] of Object.entries({ functions, modules, callers })) {
    console.log(`\nSelf time by ${title}`)
    for (const { where, percent } of shares.slice(0, 30)) console.log(`${percent.toFixed(1).padStart(6)} %  ${where}`)
  }
  writeResult(`events-${name}`, profiled, 'cpuprofile')
}
