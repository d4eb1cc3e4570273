import { Redis } from 'ioredis'
import { pause } from './call.ts'
import type { Scene } from './questions.ts'

/** What goes wrong while everybody goes on asking: one fault of Redis at a time, and restarts one after the other. */

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
const AWAY_MS = 300

export async function causeFault({ platform, random, tally }: Scene) {
  const kind = random.weighted(KINDS)
  tally.add(`faults: ${kind}`)
  switch (kind) {
    case 'cache flushed':
      return command(platform.redis.url, ['FLUSHALL'])
    case 'subscribers cut off':
      return command(platform.redis.url, ['CLIENT', 'KILL', 'TYPE', 'pubsub'])
    case 'messages lost':
      // Refused where they are published: the subscribers notice nothing.
      await command(platform.redis.url, ['ACL', 'SETUSER', 'default', '-publish'])
      await pause(LOST_MS)
      return command(platform.redis.url, ['ACL', 'SETUSER', 'default', '+publish'])
    case 'Redis frozen':
      platform.redis.signal('SIGSTOP')
      await pause(FROZEN_MS)
      return platform.redis.signal('SIGCONT')
    case 'Redis killed':
      platform.redis.signal('SIGKILL')
      await pause(AWAY_MS)
      return platform.redis.start()
    case 'process frozen': {
      // A process that sleeps hears of nothing, and goes on with what it held.
      const { server } = random.pick(platform.places)
      signal(server.pid, 'SIGSTOP')
      await pause(FROZEN_MS)
      return signal(server.pid, 'SIGCONT')
    }
  }
}

/** It may have been killed meanwhile. */
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

/** Kills a process with whatever it has under way, and starts it again. */
export async function restart({ platform, random, tally }: Scene) {
  await platform.kill(random.pick(platform.places))
  tally.add('restarts')
}
