import { createApi } from '../../support/api.ts'
import { type PrivateService, privateRedis } from '../../support/private-services.ts'
import { freePort, type ServerProcess, startServer } from '../../support/process.ts'
import { type Call, caller, pause, type Reply } from './call.ts'
import type { Random } from './random.ts'

/** One of the processes; `call` goes to whatever stands there now. */
export type Place = { server: ServerProcess; call: Call; isUp: boolean; restarts: number }

/** Two processes on one database and one Redis, all of which but the database may be killed at any time. */
export type ScalePlatform = {
  places: readonly [Place, Place]
  redis: PrivateService
  databaseUrl: string
  /** Calls one of the processes that are up. */
  call: Call
  /** The same until somebody answers. */
  insist: (method: string, path: string, body?: object) => Promise<NonNullable<Reply>>
  kill: (place: Place) => Promise<void>
  close: () => Promise<void>
}

const ATTEMPTS = 200

export async function openScalePlatform(databaseUrl: string, random: Random): Promise<ScalePlatform> {
  const redis = await privateRedis()
  const environment = { DATABASE_URL: databaseUrl, REDIS_URL: redis.url }
  const start = async () => startServer({ ...environment, PORT: String(await freePort()) })
  const servers = [await start(), await start()]
  const { token } = await createApi((servers[0] as ServerProcess).url)
  const places = servers.map((server) => ({ server, call: caller(server.url, token), isUp: true, restarts: 0 }))

  /** Also where the driver itself is ended: nothing is left behind. */
  const killAll = () => {
    for (const { server } of places) void server.kill()
    redis.remove()
  }
  process.once('exit', killAll)

  const call: Call = (...what) => {
    const up = places.filter((place) => place.isUp)
    return up.length > 0 ? random.pick(up).call(...what) : pause(20).then(() => null)
  }
  return {
    places: places as unknown as readonly [Place, Place],
    redis,
    databaseUrl,
    call,
    insist: async (...what) => {
      for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
        const reply = await call(...what)
        if (reply) return reply
        await pause(100)
      }
      throw new Error(`${what.join(' ')}: nobody answered`)
    },
    kill: async (place) => {
      await place.server.kill('SIGKILL')
      place.isUp = false
      place.server = await start()
      place.call = caller(place.server.url, token)
      place.isUp = true
      place.restarts++
    },
    close: async () => {
      process.off('exit', killAll)
      await Promise.all(places.map((place) => place.server.kill('SIGKILL')))
      redis.remove()
    },
  }
}
