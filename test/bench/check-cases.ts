import type { Case } from './decisions.ts'
import { CHECK } from './load.ts'
import type { BenchPlatform } from './platform.ts'

/** The cases of `npm run bench -- decisions` that check eligibility. */

type Options = { users: number; connections: number }

/** An application knows these attributes of its user at every request. */
const ATTRIBUTES = {
  country: 'US',
  plan: 'gold',
  app_version: '4.12.0',
  device: 'iPhone15,3',
  signed_up_at: '2025-03-14T09:26:53Z',
  is_employee: false,
}
const CONDITION = { country: { $in: ['US', 'CA', 'GB'] }, app_version: { $vgte: '4.0.0' } }

/** The checks of known users. `settings` has the settings of each experiment. */
const KNOWN = {
  attributes: { title: 'six attributes, one experiment', settings: [{}], attributes: ATTRIBUTES },
  condition: {
    title: 'six attributes, one experiment with a condition on two of them',
    settings: [{ condition: CONDITION }],
    attributes: ATTRIBUTES,
  },
  three: { title: 'six attributes, three experiments', settings: [{}, {}, {}], attributes: ATTRIBUTES },
  'leave-out': {
    title: 'six attributes, one experiment that leaves out users who stop meeting its condition',
    settings: [{ condition: CONDITION, on_ineligible: 'leave_out' }],
    attributes: ATTRIBUTES,
  },
  partly: {
    title: 'six attributes, three experiments, two of which are for other users',
    settings: [{}, { condition: { country: 'FR' } }, { condition: { plan: 'platinum' } }],
    attributes: ATTRIBUTES,
  },
  one: { title: 'no attributes, one experiment', settings: [{}], attributes: undefined },
  ten: {
    title: 'no attributes, ten experiments',
    settings: Array.from({ length: 10 }, () => ({})),
    attributes: undefined,
  },
} as const

type Check = { user_id: string; experiment_ids: number[]; attributes?: object }

async function knownUsers(platform: BenchPlatform, options: Options, name: keyof typeof KNOWN): Promise<Case> {
  const { title, settings, attributes } = KNOWN[name]
  const experimentIds: number[] = []
  for (const each of settings) experimentIds.push(await platform.makeExperiment(each))
  const checkOf = (user_id: string): Check => ({
    user_id,
    experiment_ids: experimentIds,
    ...(attributes ? { attributes } : {}),
  })
  let enrolled = 0
  const enrol = async () => {
    while (enrolled < options.users) await check(platform, { attributes: {}, ...checkOf(`user_${++enrolled}`) })
  }
  await Promise.all(Array.from({ length: options.connections }, enrol))
  const { users: known, connections } = options
  return {
    title: `Decisions for ${known} known users at random: ${title}`,
    answer: await check(platform, checkOf('user_1')),
    next: () => ({
      token: platform.token,
      experimentIds,
      connections,
      users: { known },
      asks: { path: CHECK, contentType: 'application/json', body: JSON.stringify(checkOf('$user')) },
    }),
  }
}

export const knownUserCases = Object.fromEntries(
  (Object.keys(KNOWN) as (keyof typeof KNOWN)[]).map((name) => [
    name,
    (platform: BenchPlatform, options: Options) => knownUsers(platform, options, name),
  ]),
)

let newUserLoads = 0

export async function newUsers(platform: BenchPlatform, connections: number): Promise<Case> {
  const experimentIds = [await platform.makeExperiment()]
  return {
    title: 'First-time decisions in one experiment, each committed and fenced before it is answered',
    answer: await check(platform, { user_id: 'somebody', experiment_ids: experimentIds, attributes: {} }),
    next: () => ({
      token: platform.token,
      experimentIds,
      connections,
      users: { newWithPrefix: `new_${++newUserLoads}_` },
    }),
    verify: async ({ users }, answered, unanswered) => {
      const prefix = 'newWithPrefix' in users ? users.newWithPrefix : ''
      const [stored] = await platform.query<{ rows: number }>(
        'select count(*)::int as rows from assignments a where starts_with(a.user_id, $1)',
        [prefix],
      )
      const rows = stored?.rows ?? 0
      if (rows < answered || rows > answered + unanswered)
        throw new Error(`${answered} users got a variant, but ${rows} assignments are stored`)
    },
  }
}

async function check(platform: BenchPlatform, body: Check) {
  const answer = await platform.post<{ eligible_experiment_ids: object }>('/experiments/check-eligibility', body)
  if (Object.keys(answer.eligible_experiment_ids).length === 0)
    throw new Error(`${body.user_id} is in no experiment: ${JSON.stringify(answer)}`)
  return answer
}
