import type { Reply } from './call.ts'
import { GOLD, PLANS, type ScaleDefinitions, type ScaleExperiment } from './definitions.ts'
import type { Oracle } from './oracle.ts'
import type { ScalePlatform } from './platform.ts'
import type { Random } from './random.ts'
import type { Tally } from './tally.ts'
import type { Users } from './users.ts'

/** Everything that operations use and change. */
export type Simulation = {
  platform: ScalePlatform
  definitions: ScaleDefinitions
  oracle: Oracle
  users: Users
  random: Random
  tally: Tally
}

/** An answer with an unexpected status. */
export class Unexpected extends Error {}

export const expectOk = (reply: NonNullable<Reply>, what: string, also: readonly number[] = []) => {
  if (reply.status !== 200 && !also.includes(reply.status))
    throw new Unexpected(`${what}: ${reply.status} ${JSON.stringify(reply.body)}`)
  return reply.body
}

/** Counts a request as under way in its experiments, which therefore begin no new run before the answer. */
export async function during<T>(experiments: readonly ScaleExperiment[], work: () => Promise<T>): Promise<T> {
  for (const experiment of experiments) experiment.inFlight++
  try {
    return await work()
  } finally {
    for (const experiment of experiments) experiment.inFlight--
  }
}

const openOf = ({ definitions }: Simulation) => definitions.experiments.filter((experiment) => !experiment.isClosed)

/**
 * Makes a check of one experiment, of some, of all, or of those in which the user has a variant.
 * @returns the number of decisions requested
 */
export async function check(simulation: Simulation): Promise<number> {
  const { random, users, oracle } = simulation
  const userId = (random.chance(0.03) && users.pickOwner()) || users.pick()
  const open = openOf(simulation)
  const known = random.chance(0.5) ? open.filter((experiment) => oracle.answered(userId, experiment)) : []
  const count = random.chance(0.3) ? 1 : random.chance(0.5) ? 2 + random.below(4) : open.length
  const plan = random.chance(0.6) ? GOLD : random.pick(['', ...PLANS])
  const options = { expose: !random.chance(0.1), preview: random.chance(0.08) }
  const experiments = known.length > 0 ? known : random.some(open, count)
  return askFor(simulation, simulation.platform.call, { userId, plan, options }, experiments)
}

type Question = { userId: string; plan: string; options?: { expose?: boolean; preview?: boolean } }

export async function askFor(
  { oracle, tally }: Pick<Simulation, 'oracle' | 'tally'>,
  call: ScalePlatform['call'],
  { userId, plan, options = {} }: Question,
  experiments: readonly ScaleExperiment[],
): Promise<number> {
  const who = { userId, isPreview: options.preview === true, isTargeted: plan === GOLD }
  return during(experiments, async () => {
    const asked = experiments.map((experiment) => oracle.noteQuestion({ ...who, experiment }))
    const experiment_ids = experiments.map(({ id }) => id)
    // Without a plan, the attributes are empty.
    const attributes = plan === '' ? {} : { plan }
    const body = { user_id: userId, experiment_ids, attributes, ...options }
    const reply = await call('POST', '/api/experiments/check-eligibility', body)
    tally.add(`asked by check${who.isPreview ? ', preview' : ''}`, asked.length)
    if (reply) {
      const { eligible_experiment_ids: variants } = expectOk(reply, `check of ${userId}`)
      for (const question of asked)
        tally.add(`answered ${oracle.checkAnswer(question, variants[question.experiment.id]?.variant_id)}`)
    } else tally.add('no answer to a check')
    return asked.length
  })
}

/** Requests a decision by GET, for a user who may be unknown. */
export async function getAssignment(simulation: Simulation): Promise<number> {
  const { platform, oracle, users, random, tally } = simulation
  const experiment = random.pick(openOf(simulation))
  return during([experiment], async () => {
    const userId = users.pick()
    const isPreview = random.chance(0.1)
    const asked = oracle.noteQuestion({ userId, experiment, isPreview, isTargeted: false })
    const path = `/api/experiments/${experiment.id}/assignment/${encodeURIComponent(userId)}`
    const reply = await platform.call('GET', `${path}${isPreview ? '?preview=true' : ''}`)
    tally.add('asked by GET')
    if (reply) tally.add(`answered ${oracle.checkAnswer(asked, expectOk(reply, path, [404]).variant_id)}`)
    else tally.add('no answer to GET')
    return 1
  })
}

/** Evaluates all flags, as a web client that reads experiments as flags. No draft starts, and nobody is exposed. */
export async function evaluate({ platform, definitions, oracle, users, random, tally }: Simulation): Promise<number> {
  // An evaluation also decides experiments that are about to begin a new run, whose answers the oracle cannot expect.
  if (definitions.experiments.some((experiment) => experiment.isClosed)) return 0
  return during(definitions.experiments, async () => {
    // A holdout is no flag.
    const experiments = definitions.experiments.filter((experiment) => !experiment.isHoldout)
    const userId = users.pick()
    const plan = random.chance(0.6) ? GOLD : random.pick([...PLANS])
    const asked = experiments.map((experiment) =>
      oracle.noteQuestion({ userId, experiment, isPreview: false, isTargeted: plan === GOLD }),
    )
    const context = { targetingKey: userId, plan }
    const reply = await platform.call('POST', '/ofrep/v1/evaluate/flags', { context })
    tally.add('asked by evaluation', asked.length)
    if (!reply) tally.add('no answer to an evaluation')
    else {
      const { flags } = expectOk(reply, `evaluation for ${userId}`) as { flags: { metadata?: Metadata }[] }
      const variants = new Map(flags.map(({ metadata }) => [metadata?.experiment_id, metadata?.variant_id]))
      for (const question of asked)
        tally.add(`answered ${oracle.checkAnswer(question, variants.get(question.experiment.id))}`)
    }
    return asked.length
  })
}
type Metadata = { experiment_id?: number; variant_id?: number }

/** Sends an event that names a variant. It assigns the variant only to a user without a decision. */
export const claim = (simulation: Simulation): Promise<number> => claimFor(simulation, simulation.users.pick())

function claimFor(simulation: Simulation, user_id: string): Promise<number> {
  const { platform, oracle, random, tally } = simulation
  const experiment = random.pick(openOf(simulation))
  return during([experiment], async () => {
    oracle.touch(user_id, experiment)
    const variant_id = random.pick(experiment.variants).id
    const timestamp = random.chance(0.2) ? { timestamp: new Date(Date.now() - random.below(5000)).toISOString() } : {}
    const event = { user_id, experiment_id: experiment.id, variant_id, type: 'shown', attributes: {}, ...timestamp }
    const reply = await platform.call('POST', '/api/events', event)
    tally.add('claims by events')
    if (reply) expectOk(reply, `event of ${user_id}`)
    return 1
  })
}

/** Makes a login: an id becomes an alias of a user, who may never have requested a decision. */
export async function join(simulation: Simulation): Promise<number> {
  const pair = simulation.users.pickPair()
  return pair ? joinPair(simulation, pair) : 0
}

async function joinPair(
  { platform, oracle, definitions, tally }: Simulation,
  pair: { alias_id: string; user_id: string },
) {
  expectOk(await platform.insist('POST', '/api/users/alias', pair), `alias of ${pair.alias_id}`)
  oracle.join(pair.alias_id, pair.user_id, definitions.experiments)
  tally.add('aliases')
  return 1
}

/** Lets everything happen at once for two new users: first checks on both processes, events, and perhaps a login. */
export async function crowd(simulation: Simulation): Promise<number> {
  const { platform, users, random } = simulation
  const [one, other] = [users.newcomer(), users.newcomer()]
  const ask = (userId: string, call: ScalePlatform['call']) =>
    askFor(simulation, call, { userId, plan: GOLD }, random.some(openOf(simulation), 1 + random.below(8)))
  const asked = await Promise.all([
    ...platform.instances.flatMap(({ call }) => [ask(one, call), ask(other, call)]),
    ...[one, one, other].map((userId) => claimFor(simulation, userId)),
    ...(random.chance(0.5) ? [joinPair(simulation, { alias_id: one, user_id: other })] : []),
  ])
  const again = await Promise.all([one, other].map((userId) => ask(userId, platform.call)))
  return [...asked, ...again].reduce((sum, operations) => sum + operations, 0)
}
