import type { Reply } from './call.ts'
import type { Oracle } from './oracle.ts'
import type { ScalePlatform } from './platform.ts'
import type { Random } from './random.ts'
import type { Tally } from './tally.ts'
import type { Users } from './users.ts'
import { GOLD, PLANS, type ScaleExperiment, type ScaleWorld } from './world.ts'

/** All that operations touch. */
export type Scene = {
  platform: ScalePlatform
  world: ScaleWorld
  oracle: Oracle
  users: Users
  random: Random
  tally: Tally
}

/** An answer that none of the questions may get. */
export class Unexpected extends Error {}

export const expectOk = (reply: NonNullable<Reply>, what: string, also: readonly number[] = []) => {
  if (reply.status !== 200 && !also.includes(reply.status))
    throw new Unexpected(`${what}: ${reply.status} ${JSON.stringify(reply.body)}`)
  return reply.body
}

/** Asks about open experiments, all of which stay open until the answer is there. */
export async function during<T>(experiments: readonly ScaleExperiment[], work: () => Promise<T>): Promise<T> {
  for (const experiment of experiments) experiment.inFlight++
  try {
    return await work()
  } finally {
    for (const experiment of experiments) experiment.inFlight--
  }
}

const openOf = ({ world }: Scene) => world.experiments.filter((experiment) => !experiment.isClosed)

/** A check of one experiment, of some, of all, or of those that the user was answered before. @returns how many decisions were asked for */
export async function check(scene: Scene): Promise<number> {
  const { random, users, oracle } = scene
  const userId = (random.chance(0.03) && users.pickOwner()) || users.pick()
  const open = openOf(scene)
  const known = random.chance(0.5) ? open.filter((experiment) => oracle.answered(userId, experiment)) : []
  const count = random.chance(0.3) ? 1 : random.chance(0.5) ? 2 + random.below(4) : open.length
  const plan = random.chance(0.6) ? GOLD : random.pick(['', ...PLANS])
  const options = { expose: !random.chance(0.1), preview: random.chance(0.08) }
  const experiments = known.length > 0 ? known : random.some(open, count)
  return askFor(scene, scene.platform.call, { userId, plan, options }, experiments)
}

type Question = { userId: string; plan: string; options?: { expose?: boolean; preview?: boolean } }

export async function askFor(
  { oracle, tally }: Pick<Scene, 'oracle' | 'tally'>,
  call: ScalePlatform['call'],
  { userId, plan, options = {} }: Question,
  experiments: readonly ScaleExperiment[],
): Promise<number> {
  const who = { userId, isPreview: options.preview === true, isTargeted: plan === GOLD }
  return during(experiments, async () => {
    const asked = experiments.map((experiment) => oracle.ask({ ...who, experiment }))
    const experiment_ids = experiments.map(({ id }) => id)
    // A plain check carries {}, which says nothing of the plan.
    const attributes = plan === '' ? {} : { plan }
    const reply = await call('POST', '/api/experiments/check-eligibility', {
      ...{ user_id: userId, experiment_ids, attributes },
      ...options,
    })
    tally.add(`asked by check${who.isPreview ? ', preview' : ''}`, asked.length)
    if (reply) {
      const { eligible_experiment_ids: variants } = expectOk(reply, `check of ${userId}`)
      for (const question of asked)
        tally.add(`answered ${oracle.hear(question, variants[question.experiment.id]?.variant_id)}`)
    } else tally.add('no answer to a check')
    return asked.length
  })
}

/** The same decision by GET, of a user who need not be known. */
export async function getAssignment(scene: Scene): Promise<number> {
  const { platform, oracle, users, random, tally } = scene
  const experiment = random.pick(openOf(scene))
  return during([experiment], async () => {
    const userId = users.pick()
    const isPreview = random.chance(0.1)
    const asked = oracle.ask({ userId, experiment, isPreview, isTargeted: false })
    const path = `/api/experiments/${experiment.id}/assignment/${encodeURIComponent(userId)}`
    const reply = await platform.call('GET', `${path}${isPreview ? '?preview=true' : ''}`)
    tally.add('asked by GET')
    if (reply) tally.add(`answered ${oracle.hear(asked, expectOk(reply, path, [404]).variant_id)}`)
    else tally.add('no answer to GET')
    return 1
  })
}

/** An event that names a variant: it decides for nobody who is decided for. */
export const claim = (scene: Scene): Promise<number> => claimFor(scene, scene.users.pick())

function claimFor(scene: Scene, user_id: string): Promise<number> {
  const { platform, oracle, random, tally } = scene
  const experiment = random.pick(openOf(scene))
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

/** A login: an id turns out to be a user's, perhaps of one who was never asked about. */
export async function join(scene: Scene): Promise<number> {
  const pair = scene.users.pickPair()
  return pair ? joinPair(scene, pair) : 0
}

async function joinPair({ platform, oracle, world, tally }: Scene, pair: { alias_id: string; user_id: string }) {
  expectOk(await platform.insist('POST', '/api/users/alias', pair), `alias of ${pair.alias_id}`)
  oracle.join(pair.alias_id, pair.user_id, world.experiments)
  tally.add('aliases')
  return 1
}

/** Two newcomers, of whom everything happens at once: first checks on both processes, claims, perhaps a login. */
export async function crowd(scene: Scene): Promise<number> {
  const { platform, users, random } = scene
  const [one, other] = [users.unheardOf(), users.unheardOf()]
  const ask = (userId: string, call: ScalePlatform['call']) =>
    askFor(scene, call, { userId, plan: GOLD }, random.some(openOf(scene), 1 + random.below(8)))
  const asked = await Promise.all([
    ...platform.places.flatMap(({ call }) => [ask(one, call), ask(other, call)]),
    ...[one, one, other].map((userId) => claimFor(scene, userId)),
    ...(random.chance(0.5) ? [joinPair(scene, { alias_id: one, user_id: other })] : []),
  ])
  const again = await Promise.all([one, other].map((userId) => ask(userId, platform.call)))
  return [...asked, ...again].reduce((sum, operations) => sum + operations, 0)
}
