import { createApi } from '../../support/api.ts'
import { administer } from '../../support/services.ts'
import { askEverybody, compareStored, findBreaches } from './afterwards.ts'
import { pause } from './call.ts'
import { change, enableAll } from './changes.ts'
import { createDefinitions } from './definitions.ts'
import { causeFault, restart } from './faults.ts'
import { createOracle } from './oracle.ts'
import { openScalePlatform } from './platform.ts'
import { check, claim, crowd, evaluate, getAssignment, join, type Simulation } from './questions.ts'
import { createRandom } from './random.ts'
import { createTally } from './tally.ts'
import { createUsers } from './users.ts'

export type Plan = {
  databaseUrl: string
  /** The least number of operations. An operation is a requested decision or another call. */
  operations: number
  restarts: number
  seed: number
  /** Called every ten seconds. */
  onProgress?: (line: string) => void
}
/** `flips` also lists errors that kept the test from running. `breaches` lists broken rules of a layer or a holdout. */
export type Outcome = { operations: number; restarts: number; flips: string[]; breaches: string[]; lines: string[] }

const CONCURRENT = 64
const OPERATIONS_PER_ID = 200
const OPERATIONS_PER_FAULT = 4000
const calls = { check, evaluate, get: getAssignment, claim, join, crowd, change }
const WEIGHTS: Record<keyof typeof calls, number> = {
  check: 80,
  evaluate: 10,
  get: 4,
  claim: 4,
  join: 0.7,
  crowd: 1.5,
  change: 1.2,
}

/**
 * Exposes a platform of two processes to everything that might make a decision flip, and compares every answer with the
 * first one.
 */
export async function work(plan: Plan): Promise<Outcome> {
  // This test never kills the database, so commits need not wait for the disk.
  const { pathname } = new URL(plan.databaseUrl)
  await administer(`alter database ${pathname.slice(1)} set synchronous_commit = off`, plan.databaseUrl)
  const random = createRandom(plan.seed)
  const platform = await openScalePlatform(plan.databaseUrl, random)
  try {
    const definitions = await createDefinitions(await createApi(platform.instances[0].server.url))
    const users = createUsers(random, Math.floor(plan.operations / OPERATIONS_PER_ID))
    const simulation: Simulation = {
      platform,
      definitions,
      users,
      random,
      tally: createTally(),
      oracle: createOracle(),
    }
    const { operations, flips } = await play(simulation, plan)
    if (flips.length === 0) flips.push(...(await checkAfterwards(simulation)))
    if (flips.length > 0) for (const { server } of platform.instances) plan.onProgress?.(server.output().slice(-2000))
    const breaches = await findBreaches(simulation)
    return { operations, flips, breaches, restarts: simulation.tally.of('restarts'), lines: simulation.tally.lines() }
  } finally {
    await platform.close()
  }
}

async function play(simulation: Simulation, plan: Plan): Promise<{ operations: number; flips: string[] }> {
  const { random, users, tally } = simulation
  const flips: string[] = []
  let done = 0
  const isOver = () => done >= plan.operations || flips.length > 0

  async function call() {
    while (!isOver()) {
      const operations = await calls[random.weighted(WEIGHTS)](simulation)
      done += operations
      users.admit(done / plan.operations)
    }
  }
  /** Calls a function this many times during the whole run, at random moments. */
  async function spread(times: number, act: (simulation: Simulation) => Promise<unknown>) {
    for (let time = 0; time < times; time++) {
      const moment = (plan.operations * (time + random.below(1000) / 1000)) / times
      while (done < moment && !isOver()) await pause(20)
      if (flips.length > 0) return
      await act(simulation)
    }
  }
  const guarded = (part: Promise<void>) =>
    part.catch((error: Error) => {
      flips.push(error.stack ?? error.message)
    })

  const beganAt = performance.now()
  const report = () => {
    const seconds = (performance.now() - beganAt) / 1000
    const [restarts, first, same] = ['restarts', 'answered first', 'answered same'].map(tally.of)
    plan.onProgress?.(
      `${seconds.toFixed(0)} s: ${done} operations, ${restarts} restarts, ${first} first answers, ${same} the same`,
    )
  }
  const timer = setInterval(report, 10_000)
  await Promise.all([
    ...Array.from({ length: CONCURRENT }, () => guarded(call())),
    guarded(spread(plan.restarts, restart)),
    guarded(spread(Math.ceil(plan.operations / OPERATIONS_PER_FAULT), causeFault)),
  ])
  clearInterval(timer)
  report()
  return { operations: done, flips }
}

/**
 * Requests every decision once more after all changes and faults, and compares the answers with the stored decisions.
 */
async function checkAfterwards(simulation: Simulation): Promise<string[]> {
  const { tally } = simulation
  const unexplained = tally.of('answered none: unexplained')
  await enableAll(simulation)
  const { asked, unanswered } = await askEverybody(simulation)
  const { faults, compared } = await compareStored(simulation)
  tally.add('decisions requested again at the end', asked)
  tally.add('answers compared with stored decisions', compared)
  return [
    ...(unexplained > 0 ? [`${unexplained} times an assigned user got no variant without a reason`] : []),
    ...(unanswered > 0 ? [`${unanswered} times an assigned user got no variant at the end`] : []),
    ...faults,
  ]
}
