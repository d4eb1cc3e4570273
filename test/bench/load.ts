import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
export const CHECK = '/api/experiments/check-eligibility'
/** How long wrk waits for the last answers to new users. */
const DRAIN_SECONDS = 1

/**
 * The requests of a load. Known users are `user_1` to `user_<known>`, drawn at random. New users are numbered, and each
 * one is sent once; for them, only answers with a variant count.
 */
export type Traffic = {
  token: string
  experimentIds: number[]
  connections: number
  users: { known: number } | { newWithPrefix: string }
  /** The request for known users, if it is not a check of the experiments. */
  asks?: Asks
}
/** A request. `$user` in the body stands for the user's id. */
export type Asks = { path: string; contentType: string; body: string }
/** `requests` counts good answers. `unanswered` is the largest number of other requests that may have been sent. */
export type Load = {
  requests: number
  seconds: number
  failed: number
  unanswered: number
  p50_ms: number
  p99_ms: number
}
export type Generator = { name: string; load: (url: string, traffic: Traffic, seconds: number) => Promise<Load> }

/** Finds the load generator: wrk if it is installed, otherwise autocannon. All rows of a bench use the same one. */
export async function findGenerator(): Promise<Generator> {
  // `wrk -v` ends with exit code 1.
  const found = await run('wrk', ['-v']).catch((error: { code: unknown }) => error.code !== 'ENOENT')
  return found ? { name: 'wrk', load: loadByWrk } : { name: 'autocannon', load: loadByAutocannon }
}

const asksOf = ({ asks, experimentIds }: Traffic): Asks =>
  asks ?? {
    path: CHECK,
    contentType: 'application/json',
    body: `{"user_id":"$user","experiment_ids":${JSON.stringify(experimentIds)}}`,
  }

async function loadByWrk(url: string, traffic: Traffic, seconds: number): Promise<Load> {
  const { users } = traffic
  const known = 'known' in users
  const script = fileURLToPath(new URL(known ? 'known-users.lua' : 'new-users.lua', import.meta.url))
  const duration = known ? seconds : seconds + DRAIN_SECONDS
  const options = ['-t', '1', '-c', String(traffic.connections), '-d', `${duration}s`, '-s', script]
  const { path, contentType, body } = asksOf(traffic)
  const { stdout } = await run('wrk', [...options, `${url}${path}`], {
    env: {
      ...process.env,
      BENCH_TOKEN: traffic.token,
      BENCH_EXPERIMENTS: JSON.stringify(traffic.experimentIds),
      BENCH_CONTENT_TYPE: contentType,
      BENCH_BODY: body,
      BENCH_SECONDS: String(seconds),
      ...(known ? { BENCH_USERS: String(users.known) } : { BENCH_PREFIX: users.newWithPrefix }),
    },
  })
  const result = /^RESULT (.+)$/m.exec(stdout)?.[1]
  if (!result) throw new Error(`wrk printed no RESULT line:\n${stdout}`)
  return { ...JSON.parse(result), unanswered: 0 }
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
  const { token, users, experimentIds: experiment_ids, connections } = traffic
  const known = 'known' in users ? users.known : 0
  const { path, contentType, body } = asksOf(traffic)
  const bodies = Array.from({ length: known }, (_, user) => body.replace('$user', `user_${user + 1}`))
  let user = 0
  const nextBody =
    'newWithPrefix' in users
      ? () => JSON.stringify({ user_id: `${users.newWithPrefix}${++user}`, experiment_ids, attributes: {} })
      : () => bodies[Math.floor(Math.random() * known)]
  let withVariant = 0
  const onResponse = (status: number, body: string) => {
    if (status === 200 && body.includes('"variant_id":')) withVariant++
  }
  const result = await autocannon({
    url: `${url}${path}`,
    method: 'POST',
    headers: { 'content-type': contentType, authorization: `Bearer ${token}` },
    connections,
    duration: seconds,
    requests: [
      { setupRequest: (request: object) => ({ ...request, body: nextBody() }), ...(known ? {} : { onResponse }) },
    ],
  })
  const requests = known ? result.requests.total : withVariant
  return {
    requests,
    seconds: result.duration,
    failed: result.non2xx + result.errors + (known ? 0 : result.requests.total - result.non2xx - requests),
    unanswered: connections,
    p50_ms: result.latency.p50,
    p99_ms: result.latency.p99,
  }
}
