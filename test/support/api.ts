/** Calls REST for tests, and has functions for the steps with which most tests begin. */
export type Answer<T> = { status: number; body: T; headers: Headers }

// biome-ignore lint/suspicious/noExplicitAny: tests read answers of every shape
export type Loose = any

/** The `code` of an error, by its status. */
export const ERROR_CODES: Record<number, string> = {
  400: 'BAD_REQUEST',
  401: 'UNAUTHORIZED',
  403: 'FORBIDDEN',
  404: 'NOT_FOUND',
  405: 'METHOD_NOT_SUPPORTED',
  409: 'CONFLICT',
  413: 'PAYLOAD_TOO_LARGE',
  415: 'UNSUPPORTED_MEDIA_TYPE',
}

export type TestApi = Awaited<ReturnType<typeof createApi>>

let made = 0
const unique = (what: string) => `${what} ${process.pid}-${++made}`

export async function createApi(url: string, options: { token?: string } = {}) {
  async function call(method: string, path: string, body?: unknown, token = api.token): Promise<Answer<Loose>> {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        ...(token ? { authorization: `Bearer ${token}` } : {}),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, body: text === '' ? undefined : JSON.parse(text), headers: response.headers }
  }

  /** Calls and returns the body. @throws Error unless the status is 200 */
  async function ok(method: string, path: string, body?: unknown): Promise<Loose> {
    const answer = await call(method, path, body)
    if (answer.status !== 200) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
    return answer.body
  }

  const api = {
    url,
    token: options.token ?? '',
    call,
    ok,

    /** Creates an experiment with shares in per cent, `control` first. @returns its id and key, and variant ids by name */
    async makeExperiment(shares: Record<string, number> = { control: 50, treatment: 50 }, settings: object = {}) {
      const experiment = await ok('POST', '/api/experiments', { name: unique('experiment'), ...settings })
      const variants: Record<string, number> = {}
      for (const [name, percent_allocated] of Object.entries(shares))
        variants[name] = (
          await ok('POST', `/api/experiments/${experiment.id}/variants`, { name, percent_allocated })
        ).id
      return { id: experiment.id as number, key: experiment.key as string, variants }
    },

    /** Sets shares in per cent, first all to 0, so that their sum never exceeds 100 %. */
    async allocate(experiment: { id: number; variants: Record<string, number> }, shares: Record<string, number>) {
      const path = (name: string) => `/api/experiments/${experiment.id}/variants/${experiment.variants[name]}`
      for (const name of Object.keys(shares)) await ok('PUT', path(name), { percent_allocated: 0 })
      for (const [name, percent_allocated] of Object.entries(shares)) await ok('PUT', path(name), { percent_allocated })
    },

    async makeUser(profile: object = {}) {
      const email = `${unique('user').replaceAll(' ', '-')}@example.com`
      return ok('POST', '/api/users', { first_name: 'Ada', last_name: 'Lovelace', email, ...profile })
    },

    /** Checks eligibility of any user id. @returns the id of the variant, or undefined without one */
    async variantOf(user_id: string, experiment: { id: number }, options: object = {}): Promise<number | undefined> {
      const answer = await ok('POST', '/api/experiments/check-eligibility', {
        user_id,
        experiment_ids: [experiment.id],
        attributes: {},
        ...options,
      })
      return answer.eligible_experiment_ids[experiment.id]?.variant_id
    },

    record: (event: object) => ok('POST', '/api/events', { attributes: {}, ...event }),
    results: (experiment: { id: number }, options: object = {}) =>
      ok('POST', `/api/experiments/${experiment.id}/results`, options),
  }
  if (!api.token) api.token = (await ok('POST', '/api/auth/keys', { name: 'test' })).key
  return api
}
