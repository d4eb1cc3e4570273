import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { Question } from './observe.ts'

const START_LIMIT_MS = 120_000
const observer = new URL('./observe.ts', import.meta.url).href

export type ServerProcess = {
  url: string
  /** The CPU time of all threads so far, in microseconds. */
  cpuMicros: () => Promise<number>
  ask: (question: Question) => Promise<unknown>
  stop: () => Promise<void>
}

/**
 * Starts a server in a process of its own, on a free port, and waits until the server answers.
 * @param script a server that listens on PORT
 * @throws Error if the server does not answer within two minutes
 */
export async function startServer(script: URL, environment: Record<string, string>): Promise<ServerProcess> {
  const port = await freePort()
  const child = fork(script, {
    execArgv: ['--import', observer],
    env: { ...process.env, ...environment, HOST: '127.0.0.1', PORT: String(port) },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    serialization: 'advanced',
  })
  const ended = once(child, 'exit')
  async function ask(question: Question): Promise<unknown> {
    const answered = once(child, 'message')
    child.send(question)
    const [{ answer }] = (await answered) as [{ answer: unknown }]
    return answer
  }
  const url = `http://127.0.0.1:${port}`
  const deadline = Date.now() + START_LIMIT_MS
  while (!(await answers(url))) {
    if (child.exitCode !== null || Date.now() > deadline) {
      child.kill('SIGKILL')
      throw new Error(`${script.pathname} did not start`)
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return {
    url,
    ask,
    cpuMicros: async () => (await ask('cpu')) as number,
    stop: async () => {
      child.kill('SIGTERM')
      const killer = setTimeout(() => child.kill('SIGKILL'), 12_000)
      await ended
      clearTimeout(killer)
    },
  }
}

const answers = (url: string) =>
  fetch(`${url}/health/live`).then(
    (response) => response.ok,
    () => false,
  )

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('The server has no port')
  return address.port
}
