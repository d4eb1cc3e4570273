import { Redis } from 'ioredis'
import { pause } from './call.ts'
import type { Simulation } from './questions.ts'

/** Causes faults while checks go on: one fault of Redis at a time, and one restart at a time. */

const KINDS = {
  'cache flushed': 6,
  'subscribers cut off': 4,
  'messages lost': 4,
  'Redis frozen': 2,
  'Redis killed': 1,
  'process frozen': 2,
}
const FROZEN_MS = 1000
const LOST_MS = 3000
const DOWN_MS = 300

export async function causeFault({ platform, random, tally }: Simulation) {
  const kind = random.weighted(KINDS)
  tally.add(`faults: ${kind}`)
  switch (kind) {
    case 'cache flushed':
      return command(platform.redis.url, ['FLUSHALL'])
    case 'subscribers cut off':
      return command(platform.redis.url, ['CLIENT', 'KILL', 'TYPE', 'pubsub'])
    case 'messages lost':
      // Redis refuses to publish messages, which subscribers do not notice.
      await command(platform.redis.url, ['ACL', 'SETUSER', 'default', '-publish'])
      await pause(LOST_MS)
      return command(platform.redis.url, ['ACL', 'SETUSER', 'default', '+publish'])
    case 'Redis frozen':
      platform.redis.signal('SIGSTOP')
      await pause(FROZEN_MS)
      return platform.redis.signal('SIGCONT')
    case 'Redis killed':
      platform.redis.signal('SIGKILL')
      await pause(DOWN_MS)
      return platform.redis.start()
    case 'process frozen': {
      // A frozen process gets no messages, and goes on with its old state afterwards.
      const { server } = random.pick(platform.instances)
      signal(server.pid, 'SIGSTOP')
      await pause(FROZEN_MS)
      return signal(server.pid, 'SIGCONT')
    }
  }
}

/** Sends a signal to a process, which may have been killed meanwhile. */
function signal(pid: number, name: NodeJS.Signals) {
  try {
    process.kill(pid, name)
  } catch {}
}

async function command(url: string, [name = '', ...words]: string[]) {
  const redis = new Redis(url, { lazyConnect: true, retryStrategy: () => null })
  redis.on('error', () => {})
  try {
    await redis.connect()
    await redis.call(name, ...words)
  } finally {
    redis.disconnect()
  }
}

/** Kills a process with its requests under way, and starts it again. */
export async function restart({ platform, random, tally }: Simulation) {
  await platform.kill(random.pick(platform.instances))
  tally.add('restarts')
}
