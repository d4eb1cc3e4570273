import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { childrenOf, freePort } from './process.ts'
import { administer } from './services.ts'

/** A service that a test starts from installed programs, so that the test can stop, freeze and kill it. */
export type PrivateService = {
  url: string
  signal: (signal: NodeJS.Signals) => void
  start: () => Promise<void>
  remove: () => void
}

const until = async (works: () => Promise<unknown>) => {
  for (let attempt = 0; ; attempt++) {
    try {
      await works()
      return
    } catch (error) {
      if (attempt > 100) throw error
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}

export async function privateRedis(): Promise<PrivateService> {
  const port = await freePort()
  let child: ChildProcess
  const service = {
    url: `redis://127.0.0.1:${port}`,
    signal: (signal: NodeJS.Signals) => void child.kill(signal),
    start: async () => {
      child = spawn('redis-server', ['--port', String(port), '--save', '', '--appendonly', 'no'], { stdio: 'ignore' })
      await until(async () => {
        const redis = new Redis(service.url, { lazyConnect: true, retryStrategy: () => null })
        redis.on('error', () => {})
        try {
          await redis.connect()
        } finally {
          redis.disconnect()
        }
      })
    },
    remove: () => void child.kill('SIGKILL'),
  }
  await service.start()
  return service
}

/** Finds the folder of PostgreSQL's programs, which are not always on the PATH; empty if they should be. */
function binaries(): string {
  const versions = existsSync('/usr/lib/postgresql') ? readdirSync('/usr/lib/postgresql').sort() : []
  const newest = versions.at(-1)
  return newest ? `/usr/lib/postgresql/${newest}/bin/` : ''
}

/** Lists the programs that these services need and that are not installed, in a sentence; null if none is missing. */
export function missingPrograms(): string | null {
  const missing = [`${binaries()}initdb`, 'redis-server'].filter((program) => spawnSync(program, ['--version']).error)
  return missing.length > 0 ? `not installed: ${missing.join(', ')}` : null
}

/** Makes the command of a PostgreSQL program. As root it runs as the user postgres, because PostgreSQL refuses root. */
function asPostgres(program: string, args: string[]): [string, string[]] {
  if (userInfo().uid !== 0) return [program, args]
  return ['runuser', ['-u', 'postgres', '--', program, ...args]]
}

export async function privatePostgres(): Promise<PrivateService> {
  const folder = mkdtempSync(join(tmpdir(), 'postgres-'))
  chmodSync(folder, 0o777)
  const data = join(folder, 'data')
  let port = await freePort()
  const run = (program: string, args: string[]) =>
    execFileSync(...asPostgres(`${binaries()}${program}`, args), { stdio: 'ignore', cwd: folder })
  run('initdb', ['-D', data, '-U', 'postgres', '--auth=trust', '--no-sync', '-E', 'UTF8', '--locale=C.UTF-8'])
  let child: ChildProcess | undefined
  const service = {
    url: urlAt(port),
    /** Sends SIGINT (fast shutdown) or SIGQUIT (immediate) to PostgreSQL, SIGSTOP and SIGKILL to all its processes. */
    signal: (signal: NodeJS.Signals) => {
      const postmaster = postmasterPid(data)
      const whole = signal === 'SIGSTOP' || signal === 'SIGCONT' || signal === 'SIGKILL'
      for (const pid of whole ? [postmaster, ...childrenOf(postmaster)] : [postmaster]) process.kill(pid, signal)
    },
    start: async () => {
      // Tests kill its processes, never the machine: what it has written to files is there without a sync.
      const settings = ['-c', 'listen_addresses=127.0.0.1', '-c', 'fsync=off']
      const args = ['-D', data, '-p', String(port), '-k', folder, ...settings]
      child = spawn(...asPostgres(`${binaries()}postgres`, args), { stdio: 'ignore', cwd: folder })
      await until(async () => {
        if (child?.exitCode !== null) throw new Error('PostgreSQL ended: its port may be taken')
        await administer('select 1', service.url)
      })
    },
    remove: () => {
      try {
        service.signal('SIGQUIT')
      } catch {
        child?.kill('SIGKILL')
      }
      rmSync(folder, { recursive: true, force: true })
    },
  }
  for (let attempt = 1; ; attempt++) {
    try {
      await service.start()
      return service
    } catch (error) {
      // Another test may have taken the free port before this service could use it.
      if (child?.exitCode === null || attempt === 3) throw error
      port = await freePort()
      service.url = urlAt(port)
    }
  }
}

const urlAt = (port: number) => `postgres://postgres@127.0.0.1:${port}/postgres`

const postmasterPid = (data: string) =>
  Number(execFileSync('head', ['-1', join(data, 'postmaster.pid')], { encoding: 'utf8' }).trim())
