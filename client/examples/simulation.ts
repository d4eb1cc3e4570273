import type { createClient, Inputs, Outputs } from '../index.ts'

type Client = ReturnType<typeof createClient>

/**
 * The true conversion rates of the simulated users, as shares of 1. The platform's results should come close to them.
 */
export const TRUE_RATES: Record<string, number> = { control: 0.35, treatment: 0.45 }
export const USERS = 2000
/** Each user draws one of these with equal probability, so seven users in ten are in the US. */
const COUNTRIES = ['US', 'US', 'US', 'US', 'US', 'US', 'US', 'CA', 'DE', 'IN']
const PREMIUM_SHARE = 0.75
const HAND_PICKED_SHARE = 0.1
const SEED = 20_260_101
/** The number of concurrent requests, each with up to 100 calls. */
const CONCURRENCY = 4
const CALLS_PER_REQUEST = 100
const EVENTS_PER_BATCH = 500

export type UserProfile = {
  id: string
  country_code: string
  is_premium: boolean
  /** True if the user is added to the segment by hand. */
  isHandPicked: boolean
  /** In [0, 1). The user converts if this is below the true rate of their variant. */
  luck: number
}

export type Progress = (step: string, done: number, total: number) => void
export type Decisions = Map<string, { variant_id: number; variant_name: string }>

/** Makes a generator of uniform numbers in [0, 1) (mulberry32). The same seed gives the same numbers. */
function createRandom(seed: number) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export function makePeople(prefix: string): UserProfile[] {
  const random = createRandom(SEED)
  return Array.from({ length: USERS }, (_, index) => ({
    id: `${prefix}-${String(index + 1).padStart(4, '0')}`,
    country_code: COUNTRIES[Math.floor(random() * COUNTRIES.length)] ?? 'US',
    is_premium: random() < PREMIUM_SHARE,
    isHandPicked: random() < HAND_PICKED_SHARE,
    luck: random(),
  }))
}

export const isByRule = (person: UserProfile) => person.country_code === 'US' && person.is_premium

/**
 * Creates a draft with control 70 % and treatment 30 %, targeted at a segment with a rule and at a hand-made segment.
 */
export async function defineExperiment(client: Client) {
  const experiment = await createUnderFreeName(client, 'New checkout flow')
  const experiment_id = experiment.id
  await client.experiments.addVariant.mutate({ experiment_id, name: 'control', percent_allocated: 70 })
  await client.experiments.addVariant.mutate({ experiment_id, name: 'treatment', percent_allocated: 30 })
  const byRule = await client.segments.create.mutate({
    name: `US premium users (for experiment ${experiment_id})`,
    rules: { country_code: 'US', is_premium: true },
  })
  const byHand = await client.segments.create.mutate({ name: `Beta testers (for experiment ${experiment_id})` })
  for (const segment of [byRule, byHand])
    await client.segments.assignExperiment.mutate({ experiment_id, segment_id: segment.id })
  return { experiment, betaTesters: byHand }
}

/** Creates an experiment. If an earlier demo took the name in this database, the name gets a number. */
async function createUnderFreeName(client: Client, name: string): Promise<Outputs['experiments']['create']> {
  const taken = new Set((await client.experiments.list.query({})).map((experiment) => experiment.name))
  let free = name
  for (let number = 2; taken.has(free); number++) free = `${name} ${number}`
  return client.experiments.create.mutate({ name: free, hypothesis: 'Fewer steps, more orders' })
}

export async function createUsers(client: Client, people: UserProfile[], progress: Progress) {
  await inParallel(
    people,
    (done) => progress('Creating users', done, people.length),
    async (person) => {
      const [, number] = /-(\d+)$/.exec(person.id) ?? []
      await client.users.create.mutate({
        id: person.id,
        first_name: 'User',
        last_name: `No. ${number}`,
        email: `${person.id}@example.com`,
        is_premium: person.is_premium,
        country_code: person.country_code,
      })
    },
  )
}

export async function handPick(client: Client, people: UserProfile[], segment_id: number, progress: Progress) {
  const picked = people.filter((person) => person.isHandPicked)
  await inParallel(
    picked,
    (done) => progress('Picking beta testers', done, picked.length),
    async ({ id }) => {
      await client.segments.assignUser.mutate({ user_id: id, segment_id })
    },
  )
}

/** Asks for every user's variant. @returns the decisions by user id; users who are not eligible are missing */
export async function decideAll(
  client: Client,
  people: UserProfile[],
  experimentId: number,
  step: string,
  progress: Progress,
): Promise<Decisions> {
  const decisions: Decisions = new Map()
  await inParallel(
    people,
    (done) => progress(step, done, people.length),
    async ({ id }) => {
      const answer = await client.assignments.checkEligibility.mutate({ user_id: id, experiment_ids: [experimentId] })
      const decision = answer.eligible_experiment_ids[experimentId]
      if (decision) decisions.set(id, decision)
    },
  )
  return decisions
}

/** Records a page view for each user in the experiment, and a conversion for as many as the true rates say. */
export async function recordEvents(
  client: Client,
  people: UserProfile[],
  decisions: Decisions,
  experiment_id: number,
  progress: Progress,
) {
  const events: Inputs['events']['recordBatch']['events'] = []
  for (const { id, luck } of people) {
    const decision = decisions.get(id)
    if (!decision) continue
    const event = { user_id: id, experiment_id, variant_id: decision.variant_id }
    events.push({ ...event, type: 'page_view' })
    if (luck < (TRUE_RATES[decision.variant_name] ?? 0))
      events.push({ ...event, type: 'conversion', properties: { value: Math.round(20 + 100 * luck) } })
  }
  for (let done = 0; done < events.length; done += EVENTS_PER_BATCH) {
    const batch = events.slice(done, done + EVENTS_PER_BATCH)
    const { rejected, results } = await client.events.recordBatch.mutate({ events: batch })
    if (rejected > 0)
      throw new Error(`${rejected} events were rejected: ${results.find(({ message }) => message)?.message}`)
    progress('Recording events', done + batch.length, events.length)
  }
}

/** Counts the stored events of an experiment by their type. */
export async function countEvents(client: Client, experiment_id: number): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  let after: number | undefined
  do {
    const page = await client.events.list.query({ experiment_id, limit: 10_000, after })
    for (const { type } of page) counts.set(type, (counts.get(type) ?? 0) + 1)
    after = page.length === 10_000 ? page.at(-1)?.id : undefined
  } while (after)
  return counts
}

/** Processes the items concurrently, with as many calls at once as `CONCURRENCY` full requests carry. */
async function inParallel<T>(items: readonly T[], report: (done: number) => void, work: (item: T) => Promise<void>) {
  let next = 0
  let done = 0
  const worker = async () => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) {
      await work(item)
      done++
      report(done)
    }
  }
  await Promise.all(Array.from({ length: CONCURRENCY * CALLS_PER_REQUEST }, worker))
}
