import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export type PlatformProcess = {
  url: string
  /** The lines with addresses that the platform printed when it was ready. */
  addresses: string[]
  /** True if the platform's data are lost when the platform ends. */
  inMemory: boolean
  /** Resolves when the platform has ended, for any reason. */
  ended: Promise<unknown>
  stop: () => Promise<void>
}

const start = fileURLToPath(new URL('../../server/start.js', import.meta.url))

/**
 * Starts a platform as a child process. It runs in memory and on port 8000 unless the environment says otherwise.
 * @throws Error if the port is taken or the platform does not start
 */
export async function startPlatform(): Promise<PlatformProcess> {
  const environment = {
    ...process.env,
    DATABASE_URL: process.env.DATABASE_URL || 'pglite:',
    PORT: process.env.PORT || '8000',
    // The line with the addresses is of the level info.
    LOG_LEVEL: 'info',
  }
  const port = Number(environment.PORT)
  if (await isTaken(port, process.env.HOST || '127.0.0.1'))
    throw new Error(
      `Port ${port} is taken, perhaps by a platform that is running already.\n` +
        `Stop the program on this port, or choose another port: PORT=${port + 1} npm run demo`,
    )
  // The child gets its own process group, so that Ctrl-C reaches only this process, which then stops the platform in
  // order.
  const child = spawn(process.execPath, [start], {
    env: environment,
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'exit')
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  ended.then(() => process.off('exit', kill))
  const stop = async () => {
    child.kill('SIGTERM')
    await ended
  }
  const inMemory = environment.DATABASE_URL === 'pglite:'
  return { ...(await untilReady(child, ended)), inMemory, ended, stop }
}

/** The level of pino's warnings. */
const WARNING = 40

/** Waits for the line of the log that holds the addresses. Prints warnings, and lines that are not of the log. */
function untilReady(child: ChildProcess, ended: Promise<unknown>): Promise<{ url: string; addresses: string[] }> {
  return new Promise((resolve, reject) => {
    if (!child.stdout) throw new Error('The platform has no output to read')
    createInterface({ input: child.stdout }).on('line', (line) => {
      const { level, msg = '', addresses } = entryOf(line)
      if (level === undefined || level >= WARNING) console.log(line)
      const url = / is ready at (\S+)$/.exec(msg)?.[1]
      if (url === undefined || !addresses) return
      resolve({ url, addresses: Object.entries(addresses).map(([name, text]) => `  ${name.padEnd(10)} ${text}`) })
    })
    ended.then(() => reject(new Error('The platform did not start')))
  })
}

/** Reads a line of the log; any other line has no level. */
function entryOf(line: string): { level?: number; msg?: string; addresses?: Record<string, string> } {
  try {
    return JSON.parse(line)
  } catch {
    return {}
  }
}

function isTaken(port: number, host: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', (error: NodeJS.ErrnoException) => (error.code === 'EADDRINUSE' ? resolve(true) : reject(error)))
    probe.listen(port, host, () => probe.close(() => resolve(false)))
  })
}
