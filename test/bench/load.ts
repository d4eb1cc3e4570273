import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const script = fileURLToPath(new URL('./random-users.lua', import.meta.url))
const PATH = '/api/experiments/check-eligibility'

/** What every request of a bench is made of; users are `user_1` to `user_<users>`. */
export type Traffic = { token: string; users: number; experimentIds: number[]; connections: number }
export type Load = { requests: number; seconds: number; failed: number; p50_ms: number; p99_ms: number }
export type Generator = { name: string; load: (url: string, traffic: Traffic, seconds: number) => Promise<Load> }

/** wrk where it is installed, else autocannon; one and the same for every row of a bench. */
export async function findGenerator(): Promise<Generator> {
  // It answers `-v` with exit code 1.
  const found = await run('wrk', ['-v']).catch((error: { code: unknown }) => error.code !== 'ENOENT')
  return found ? { name: 'wrk', load: loadByWrk } : { name: 'autocannon', load: loadByAutocannon }
}

async function loadByWrk(url: string, traffic: Traffic, seconds: number): Promise<Load> {
  const options = ['-t', '1', '-c', String(traffic.connections), '-d', `${seconds}s`, '-s', script]
  const { stdout } = await run('wrk', [...options, `${url}${PATH}`], {
    env: {
      ...process.env,
      BENCH_TOKEN: traffic.token,
      BENCH_USERS: String(traffic.users),
      BENCH_EXPERIMENTS: JSON.stringify(traffic.experimentIds),
    },
  })
  const result = /^RESULT (.+)$/m.exec(stdout)?.[1]
  if (!result) throw new Error(`wrk says:\n${stdout}`)
  return JSON.parse(result)
}

type Autocannon = (options: object) => Promise<{
  requests: { total: number }
  latency: { p50: number; p99: number }
  duration: number
  non2xx: number
  errors: number
}>

async function loadByAutocannon(url: string, traffic: Traffic, seconds: number): Promise<Load> {
  const name: string = 'autocannon'
  const autocannon: Autocannon = (await import(name)).default
  const { token, users, experimentIds, connections } = traffic
  const bodies = Array.from({ length: users }, (_, user) =>
    JSON.stringify({ user_id: `user_${user + 1}`, experiment_ids: experimentIds }),
  )
  const setupRequest = (request: object) => ({ ...request, body: bodies[Math.floor(Math.random() * users)] })
  const result = await autocannon({
    url: `${url}${PATH}`,
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    connections,
    duration: seconds,
    requests: [{ setupRequest }],
  })
  return {
    requests: result.requests.total,
    seconds: result.duration,
    failed: result.non2xx + result.errors,
    p50_ms: result.latency.p50,
    p99_ms: result.latency.p99,
  }
}
