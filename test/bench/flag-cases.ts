import type { Case } from './decisions.ts'
import type { BenchPlatform } from './platform.ts'

/** The cases of `npm run bench -- decisions` that use OpenFeature's remote evaluation protocol. */

type Options = { users: number; connections: number }
type Answer = { value?: unknown; flags?: { value?: unknown }[] }

const BULK = '/ofrep/v1/evaluate/flags'
const CONTENT_TYPE = 'application/json; charset=utf-8'
const BODY = '{"context":{"plan":"gold","country":"US","targetingKey":"$user"}}'
const FLAGS = 12
const EXPERIMENTS = 8

export async function singleExperiment(platform: BenchPlatform, options: Options): Promise<Case> {
  const key = await startExperiment(platform)
  return knownUsers(platform, options, `${BULK}/${key}`, 'One experiment, read as a flag')
}

export async function singleFlag(platform: BenchPlatform, options: Options): Promise<Case> {
  await makeFlag(platform, 'asked')
  return knownUsers(platform, options, `${BULK}/asked`, 'One flag with a condition and a rollout')
}

export async function bulkOfTwenty(platform: BenchPlatform, options: Options): Promise<Case> {
  for (let flag = 1; flag <= FLAGS; flag++) await makeFlag(platform, `flag-${flag}`)
  for (let experiment = 1; experiment <= EXPERIMENTS; experiment++) await startExperiment(platform)
  return knownUsers(platform, options, BULK, `All of ${FLAGS} flags and ${EXPERIMENTS} experiments`)
}

/** As on most platforms: some experiments have not started, and others are for other users. */
export async function bulkOfSome(platform: BenchPlatform, options: Options): Promise<Case> {
  for (let flag = 1; flag <= FLAGS; flag++) await makeFlag(platform, `flag-${flag}`)
  for (let experiment = 1; experiment <= EXPERIMENTS; experiment++) {
    if (experiment <= 2) await platform.makeExperiment()
    else await startExperiment(platform, experiment <= 4 ? { condition: { plan: 'platinum' } } : {})
  }
  const title = `All of ${FLAGS} flags and ${EXPERIMENTS} experiments, of which 2 are drafts and 2 for other users`
  return knownUsers(platform, options, BULK, title)
}

/** @returns the experiment's key */
async function startExperiment(platform: BenchPlatform, settings: object = {}): Promise<string> {
  const id = await platform.makeExperiment(settings)
  const { key } = await platform.post<{ key: string }>(`/experiments/${id}/start`, {})
  return key
}

/** Makes a flag. For the users of the bench, its condition does not hold and its rollout decides. */
const makeFlag = (platform: BenchPlatform, key: string) =>
  platform.post('/flags', {
    key,
    type: 'boolean',
    default_value: false,
    rules: [
      { condition: { plan: 'platinum', country: { $in: ['US', 'FR'] } }, value: true },
      { rollout: [{ percent: 50, value: true }] },
    ],
  })

async function knownUsers(platform: BenchPlatform, options: Options, path: string, title: string): Promise<Case> {
  const { token } = platform
  const { users: known, connections } = options
  async function evaluate(user: string): Promise<Answer> {
    const response = await fetch(`${platform.server.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': CONTENT_TYPE, authorization: `Bearer ${token}` },
      body: BODY.replace('$user', user),
    })
    const answer = (await response.json()) as Answer
    const flags = answer.flags ?? [answer]
    if (!response.ok || flags.every(({ value }) => value === undefined))
      throw new Error(`${user} gets no flag: ${JSON.stringify(answer)}`)
    return answer
  }
  let evaluated = 0
  const evaluateAll = async () => {
    while (evaluated < known) await evaluate(`user_${++evaluated}`)
  }
  await Promise.all(Array.from({ length: connections }, evaluateAll))
  return {
    title: `${title}, by OFREP: ${known} known users at random`,
    answer: await evaluate('user_1'),
    next: () => ({
      token,
      experimentIds: [],
      connections,
      users: { known },
      asks: { path, contentType: CONTENT_TYPE, body: BODY },
    }),
  }
}
