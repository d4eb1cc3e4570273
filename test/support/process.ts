import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'

const main = fileURLToPath(new URL('../../server/main.ts', import.meta.url))

/** A platform that runs in its own process, as it is deployed. */
export type ServerProcess = {
  url: string
  pid: number
  /** Returns the output so far. */
  output: () => string
  /** Ends the process and waits. @param signal default: SIGKILL, which gives the process no time to clean up */
  kill: (signal?: NodeJS.Signals) => Promise<number | null>
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

/** Starts a platform with this environment. @throws Error with its output if it ends before it listens */
export async function startServer(environment: Record<string, string>): Promise<ServerProcess> {
  const port = environment.PORT ?? String(await freePort())
  const child = launch({ LOG_LEVEL: 'warn', ...environment, PORT: port })
  const url = `http://127.0.0.1:${port}`
  for (let waited = 0; ; waited += 100) {
    if (child.process.exitCode !== null) throw new Error(`The server ended:\n${child.output()}`)
    if (waited > 60_000) throw new Error(`The server does not listen:\n${child.output()}`)
    const response = await fetch(`${url}/health/ready`).catch(() => null)
    if (response?.ok) break
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return {
    url,
    pid: child.process.pid as number,
    output: child.output,
    kill: async (signal = 'SIGKILL') => {
      if (child.process.exitCode === null && child.process.signalCode === null) {
        child.process.kill(signal)
        await once(child.process, 'exit')
      }
      return child.process.exitCode
    },
  }
}

/** Runs a platform that is expected to end by itself, such as one with a bad configuration. */
export async function runServer(environment: Record<string, string>): Promise<{ code: number | null; output: string }> {
  const child = launch(environment)
  await once(child.process, 'exit')
  return { code: child.process.exitCode, output: child.output() }
}

function launch(environment: Record<string, string>): { process: ChildProcess; output: () => string } {
  const { PATH = '', HOME = '', NODE_COMPILE_CACHE = '' } = process.env
  const child = spawn(process.execPath, [main], {
    env: { PATH, HOME, NODE_COMPILE_CACHE, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  child.stdout?.on('data', (data) => {
    output += data
  })
  child.stderr?.on('data', (data) => {
    output += data
  })
  return { process: child, output: () => output }
}

/** Lists the ids of the child processes of a process. */
export const childrenOf = (pid: number) =>
  execFileSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map(Number)
