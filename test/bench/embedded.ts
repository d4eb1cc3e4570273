import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { median } from 'simple-statistics'
import { catchUp, type EmbeddedPlatform, startEmbedded } from './embedded/platform.ts'
import { startProbe } from './embedded/probe.ts'
import { type Crowd, enrol, streamEvents } from './embedded/traffic.ts'
import { loadEvents } from './event-load.ts'
import { EVENTS_PER_BATCH, makeBody } from './event-traffic.ts'
import { findGenerator } from './load.ts'
import type { Memory } from './observe.ts'
import { machine, readOptions, round, writeResult } from './report.ts'

const HELP = `npm run bench -- embedded [options]

What does the embedded database in a folder carry, and how long do requests wait meanwhile? One process with default
settings, no Redis, two running experiments, one of them with three metrics. The longest waits are those of a request
for /health/live every 20 ms and of a single event every 100 ms, which a thread of its own sends during each load.
  first    decisions for new users
  known    decisions for known users
  single   POST /api/events, one event a request
  batch    POST /api/events/batch, four senders of 1,000 events a request; then the time until totals have caught up
  results  POST /api/experiments/{id}/results by two askers, one question after the other, while --stream events arrive
  start    seconds until a process is ready: with a new folder, and with a folder that holds --events

  --cases first,known,single,batch,results,start
  --rounds 2
  --seconds 4          of load per round
  --connections 64
  --users 2000         known users
  --stream 2000        events per second during results
  --events 300000`

const DEFAULTS = {
  cases: 'first,known,single,batch,results,start',
  rounds: 2,
  seconds: 4,
  connections: 64,
  users: 2000,
  stream: 2000,
  events: 300_000,
}
type Options = typeof DEFAULTS

const BATCH_SENDERS = 4
const ASKERS = 2
const WARM_UP_SECONDS = 1
const MAX_CATCH_UP_SECONDS = 60
const SINGLE_BODIES = 5000
const BATCH_BODIES = 16
const MEGABYTE = 1024 ** 2

type Setup = { platform: EmbeddedPlatform; crowd: Crowd; options: Options }
/** The outcome of a load: answers or events per second, and other figures. */
type Measured = { perSecond: number; note?: string }
type Load = (seconds: number) => Promise<Measured>

export async function benchEmbedded(args: string[]): Promise<void> {
  const options = readOptions(args, HELP, DEFAULTS)
  if (!options) return
  const cases: Record<string, (setup: Setup) => Promise<Load>> = { first, known, single, batch, results }
  const names = options.cases.split(',')
  for (const name of names)
    if (!cases[name] && name !== 'start')
      throw new Error(`--cases: ${name} is none of ${Object.keys(cases).join(', ')}, start`)
  const folder = mkdtempSync(join(tmpdir(), 'experiment-bench-'))
  const rows: Record<string, unknown>[] = []
  let platform: EmbeddedPlatform | undefined
  try {
    platform = await startEmbedded(folder)
    console.log(`started with a new folder in ${round(platform.startSeconds, 1)} s`)
    const setup = { platform, crowd: await enrol(platform, options.users), options }
    for (const name of names) {
      const load = await cases[name]?.(setup)
      if (load) rows.push(await measure(name, setup, load))
    }
    if (rows.length > 0) {
      console.log(
        `\nThe embedded database; ${options.rounds} rounds of ${options.seconds} s, medians, longest waits in ms`,
      )
      console.table(rows)
    }
    const starts = names.includes('start') ? await measureStarts(setup, folder) : undefined
    if (starts) console.table(starts)
    writeResult('embedded', { options, machine: machine(), rows, starts })
  } finally {
    await platform?.server.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function measure(name: string, { platform, options }: Setup, load: Load) {
  await load(WARM_UP_SECONDS)
  await catchUp(platform, MAX_CATCH_UP_SECONDS)
  const rates: number[] = []
  const live: number[] = []
  const event: number[] = []
  const caughtUp: (number | undefined)[] = []
  const notes: string[] = []
  for (let number = 1; number <= options.rounds; number++) {
    const stopProbe = await startProbe({ url: platform.server.url, token: platform.token })
    const { perSecond, note } = await load(options.seconds)
    const waits = await stopProbe()
    rates.push(perSecond)
    live.push(waits.live)
    event.push(waits.event)
    if (note) notes.push(note)
    caughtUp.push(await catchUp(platform, MAX_CATCH_UP_SECONDS))
  }
  const { rssBytes } = (await platform.server.ask('memory')) as Memory
  return {
    load: name,
    'per second': round(median(rates), 1),
    'wait for /health/live': Math.round(Math.max(...live)),
    'wait for an event': Math.round(Math.max(...event)),
    'totals caught up, s': caughtUp.map((seconds) => seconds?.toFixed(1) ?? 'late').join(' '),
    'RSS MB': Math.round(rssBytes / MEGABYTE),
    notes: notes.join(', '),
  }
}

async function first({ platform, crowd, options }: Setup): Promise<Load> {
  const { load } = await findGenerator()
  let round = 0
  return async (seconds) => {
    const traffic = { ...common(platform, crowd, options), users: { newWithPrefix: `new_${++round}_` } }
    const { requests, seconds: took } = await load(platform.server.url, traffic, seconds)
    return { perSecond: requests / took }
  }
}

async function known({ platform, crowd, options }: Setup): Promise<Load> {
  const { load } = await findGenerator()
  const traffic = { ...common(platform, crowd, options), users: { known: options.users } }
  return async (seconds) => {
    const { requests, failed, seconds: took } = await load(platform.server.url, traffic, seconds)
    return { perSecond: (requests - failed) / took }
  }
}

const common = ({ token }: EmbeddedPlatform, { experimentIds }: Crowd, { connections }: Options) => ({
  token,
  connections,
  experimentIds: experimentIds.slice(0, 1),
})

async function single({ platform, crowd, options }: Setup): Promise<Load> {
  const bodies = Array.from({ length: SINGLE_BODIES }, () => makeBody(crowd.makeEvents(1), true))
  return (seconds) =>
    loadEvents([platform.server.url], {
      token: platform.token,
      connections: options.connections,
      bodies,
      single: true,
      seconds,
    })
}

async function batch({ platform, crowd }: Setup): Promise<Load> {
  const send = batchSender(platform, crowd)
  return async (seconds) => {
    const { perSecond, p99_ms } = await send(seconds, Number.POSITIVE_INFINITY)
    return { perSecond, note: `p99 of a batch ${Math.round(p99_ms)} ms` }
  }
}

function batchSender({ server, token }: EmbeddedPlatform, crowd: Crowd) {
  const bodies = Array.from({ length: BATCH_BODIES }, () => makeBody(crowd.makeEvents(EVENTS_PER_BATCH), false))
  return (seconds: number, events: number) =>
    loadEvents([server.url], { token, connections: BATCH_SENDERS, bodies, single: false, seconds, events })
}

async function results({ platform, crowd, options }: Setup): Promise<Load> {
  return async (seconds) => {
    const stopEvents = streamEvents(platform, crowd, options.stream)
    const began = performance.now()
    let answers = 0
    let exact = 0
    await Promise.all(
      Array.from({ length: ASKERS }, async () => {
        while (performance.now() - began < seconds * 1000) {
          const { data_through } = await platform.call<{ data_through: string | null }>(
            'POST',
            `/experiments/${crowd.experimentIds[0]}/results`,
            {},
          )
          answers++
          if (data_through === null) exact++
        }
      }),
    )
    const took = (performance.now() - began) / 1000
    const accepted = await stopEvents()
    const percent = Math.round((100 * exact) / Math.max(1, answers))
    return { perSecond: answers / took, note: `${Math.round(accepted)} events/s, ${percent} % exact` }
  }
}

/** Measures starts with a new folder, and with the folder of the loads, filled up to the requested number of events. */
async function measureStarts({ platform, crowd, options }: Setup, folder: string) {
  await batchSender(platform, crowd)(Number.POSITIVE_INFINITY, options.events)
  const caughtUp = await catchUp(platform, 2 * MAX_CATCH_UP_SECONDS)
  console.log(`totals caught up with ${options.events} events in ${caughtUp?.toFixed(1) ?? 'more than 120'} s`)
  await platform.server.stop()
  const fresh: number[] = []
  const filled: number[] = []
  for (let number = 0; number <= options.rounds; number++) {
    const empty = mkdtempSync(join(tmpdir(), 'experiment-bench-'))
    for (const [of, taken, token] of [
      [empty, fresh, undefined],
      [folder, filled, platform.token],
    ] as const) {
      const { server, startSeconds } = await startEmbedded(of, token)
      taken.push(startSeconds)
      await server.stop()
    }
    rmSync(empty, { recursive: true, force: true })
  }
  const row = (what: string, taken: number[]) => ({ start: what, 's (median)': round(median(taken), 2) })
  return [row('with a new folder', fresh), row(`with a folder of ${options.events} events`, filled)]
}
