import { createApi } from '../../support/api.ts'
import { type PrivateService, privateRedis } from '../../support/private-services.ts'
import { freePort, type ServerProcess, startServer } from '../../support/process.ts'
import { type Call, caller, pause, type Reply } from './call.ts'
import type { Random } from './random.ts'

/** One of the processes. After a restart, `call` goes to the new process. */
export type Instance = { server: ServerProcess; call: Call; isUp: boolean; restarts: number }

/** Two processes with one database and one Redis. The processes and Redis may be killed at any time. */
export type ScalePlatform = {
  instances: readonly [Instance, Instance]
  redis: PrivateService
  databaseUrl: string
  /** Calls one of the processes that are up. */
  call: Call
  /** Repeats a call until a process answers. */
  insist: (method: string, path: string, body?: object) => Promise<NonNullable<Reply>>
  kill: (instance: Instance) => Promise<void>
  close: () => Promise<void>
}

const ATTEMPTS = 200

export async function openScalePlatform(databaseUrl: string, random: Random): Promise<ScalePlatform> {
  const redis = await privateRedis()
  const environment = { DATABASE_URL: databaseUrl, REDIS_URL: redis.url }
  const start = async () => startServer({ ...environment, PORT: String(await freePort()) })
  const servers = [await start(), await start()]
  const { token } = await createApi((servers[0] as ServerProcess).url)
  const instances = servers.map((server) => ({ server, call: caller(server.url, token), isUp: true, restarts: 0 }))

  /** Kills everything, also when the test's own process ends early. */
  const killAll = () => {
    for (const { server } of instances) void server.kill()
    redis.remove()
  }
  process.once('exit', killAll)

  const call: Call = (...what) => {
    const up = instances.filter((instance) => instance.isUp)
    return up.length > 0 ? random.pick(up).call(...what) : pause(20).then(() => null)
  }
  return {
    instances: instances as unknown as readonly [Instance, Instance],
    redis,
    databaseUrl,
    call,
    insist: async (...what) => {
      for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
        const reply = await call(...what)
        if (reply) return reply
        await pause(100)
      }
      throw new Error(`${what.join(' ')}: no process answered`)
    },
    kill: async (instance) => {
      await instance.server.kill('SIGKILL')
      instance.isUp = false
      instance.server = await start()
      instance.call = caller(instance.server.url, token)
      instance.isUp = true
      instance.restarts++
    },
    close: async () => {
      process.off('exit', killAll)
      await Promise.all(instances.map((instance) => instance.server.kill('SIGKILL')))
      redis.remove()
    },
  }
}
