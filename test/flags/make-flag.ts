import type { Answer, Loose, TestApi } from '../support/api.ts'

let made = 0
/** Makes an unused name for a flag, a segment or an experiment. */
export const unused = (what: string) => `${what}-${process.pid}-${++made}`

/** Creates a boolean flag that is false for every user, changed by these settings. */
export const makeFlag = (api: TestApi, settings: object = {}): Promise<Loose> =>
  api.ok('POST', '/api/flags', { key: unused('flag'), type: 'boolean', default_value: false, ...settings })

export const updateFlag = (api: TestApi, flag: { key: string }, settings: object): Promise<Answer<Loose>> =>
  api.call('PUT', `/api/flags/${flag.key}`, settings)

export const setRules = (api: TestApi, { key }: { key: string }, rules: object[]): Promise<Loose> =>
  api.ok('PUT', `/api/flags/${key}`, { rules })

/** Evaluates a flag for a user, who may be unknown. */
export async function answerFor(
  api: TestApi,
  { key }: { key: string },
  user_id: string,
  options: object = {},
): Promise<Loose> {
  const { flags } = await api.ok('POST', '/api/flags/evaluate', { user_id, keys: [key], attributes: {}, ...options })
  return flags[key]
}

export const valueFor = async (...asked: Parameters<typeof answerFor>) => (await answerFor(...asked))?.value

export const users = (count: number) => Array.from({ length: count }, (_, index) => `user_${index}`)

/** Evaluates a flag for many users. @returns the values in the order of the users */
export const valuesFor = (api: TestApi, flag: { key: string }, count = 200): Promise<unknown[]> =>
  Promise.all(users(count).map((user) => valueFor(api, flag, user)))

/** Returns the paths of the issues of a refused call. */
export const pathsOf = ({ status, body }: Answer<Loose>) => ({
  status,
  paths: body.issues?.map(({ path }: { path: unknown }) => path),
})
export const refusedAt = (...path: (string | number)[]) => ({ status: 400, paths: [path] })
