import { median } from 'simple-statistics'
import { type EventStream, openStream } from '../support/event-stream.ts'
import type { Memory } from './observe.ts'
import { type BenchPlatform, openPlatform } from './platform.ts'
import { machine, readOptions, round, writeResult } from './report.ts'

const HELP = `npm run bench -- streams [options]

How much memory does one process take per open stream of changes, and how soon does a change reach all streams?
This process reads OpenFeature's event streams (server-sent events); PostgreSQL + Redis. The memory is that of the
server's process after garbage collection, without the kernel's buffers.

  --streams 500,2000   numbers of open streams, one after the other
  --changes 10         changes of a flag, each awaited by all streams`

const DEFAULTS = { streams: '500,2000', changes: 10 }
/** The number of streams that are opened concurrently. */
const BATCH = 100
const KILOBYTE = 1024

export async function benchStreams(args: string[]): Promise<void> {
  const options = readOptions(args, HELP, DEFAULTS)
  if (!options) return
  const platform = await openPlatform()
  const streams: EventStream[] = []
  try {
    const link = await linkOf(platform)
    // The first streams and changes make the process load and compile code, which does not count.
    await open(streams, link, BATCH)
    await change(platform, streams, 0)
    await close(streams)
    const before = await readMemory(platform)
    const rows: Record<string, number>[] = [{ streams: 0, ...inMegabytes(before) }]
    for (const count of options.streams.split(',').map(Number)) {
      await open(streams, link, count - streams.length)
      const reached: number[] = []
      for (let number = 1; number <= options.changes; number++) reached.push(await change(platform, streams, number))
      const memory = await readMemory(platform)
      rows.push({
        streams: count,
        ...inMegabytes(memory),
        'RSS KB/stream': round((memory.rssBytes - before.rssBytes) / count / KILOBYTE, 1),
        'heap KB/stream': round((memory.heapBytes - before.heapBytes) / count / KILOBYTE, 1),
        'change to the last, ms': round(median(reached), 0),
        'longest, ms': round(Math.max(...reached), 0),
      })
    }
    await close(streams)
    rows.push({ streams: 0, ...inMegabytes(await readMemory(platform)) })
    console.log(`\nStreams of changes on one process; ${options.changes} changes`)
    console.table(rows)
    writeResult('streams', { options, machine: machine(), rows })
  } finally {
    await close(streams)
    await platform.close()
  }
}

async function linkOf({ server, token }: BenchPlatform): Promise<string> {
  const response = await fetch(`${server.url}/ofrep/v1/evaluate/flags`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
  })
  const { eventStreams } = (await response.json()) as { eventStreams: { endpoint: { requestUri: string } }[] }
  return `${server.url}${eventStreams[0]?.endpoint.requestUri}`
}

async function open(streams: EventStream[], link: string, count: number) {
  for (let opened = 0; opened < count; opened += BATCH)
    streams.push(
      ...(await Promise.all(Array.from({ length: Math.min(BATCH, count - opened) }, () => openStream(link)))),
    )
}

async function close(streams: EventStream[]) {
  const closing = streams.splice(0)
  for (const stream of closing) stream.close()
  await Promise.all(closing.map(({ ended }) => ended))
}

/** Makes a change. @returns the time from the request to the notification of the last stream, in milliseconds */
async function change(platform: BenchPlatform, streams: EventStream[], number: number): Promise<number> {
  const began = Date.now()
  await platform.post('/flags', { key: `change-${streams.length}-${number}`, type: 'boolean', default_value: true })
  const [state] = await platform.query<{ version: number }>('select p.definitions_version as version from platform p')
  const events = await Promise.all(streams.map(({ eventOf }) => eventOf(String(state?.version), 5000)))
  return Math.max(...events.map(({ at }) => at)) - began
}

async function readMemory({ server }: BenchPlatform): Promise<Memory> {
  await server.ask('collect')
  return (await server.ask('memory')) as Memory
}

const inMegabytes = ({ rssBytes, heapBytes }: Memory) => ({
  'RSS MB': round(rssBytes / KILOBYTE ** 2, 1),
  'heap MB': round(heapBytes / KILOBYTE ** 2, 1),
})
