import { createApi } from '../../support/api.ts'
import { administer } from '../../support/services.ts'
import { askEverybody, compareStored, findBreaches } from './afterwards.ts'
import { pause } from './call.ts'
import { change, enableAll } from './changes.ts'
import { causeFault, restart } from './faults.ts'
import { createOracle } from './oracle.ts'
import { openScalePlatform } from './platform.ts'
import { check, claim, crowd, getAssignment, join, type Scene } from './questions.ts'
import { createRandom } from './random.ts'
import { createTally } from './tally.ts'
import { createUsers } from './users.ts'
import { makeScaleWorld } from './world.ts'

export type Plan = {
  databaseUrl: string
  /** How many at least: decisions asked for, and other calls. */
  operations: number
  restarts: number
  seed: number
  /** Notified every ten seconds. */
  onProgress?: (line: string) => void
}
/** `flips`: also whatever kept the promise from being tried. `breaches`: of a layer or a holdout. */
export type Outcome = { operations: number; restarts: number; flips: string[]; breaches: string[]; lines: string[] }

const CONCURRENT = 64
const OPERATIONS_PER_ID = 200
const OPERATIONS_PER_FAULT = 4000
const calls = { check, get: getAssignment, claim, join, crowd, change }
const WEIGHTS: Record<keyof typeof calls, number> = { check: 90, get: 4, claim: 4, join: 0.7, crowd: 1.5, change: 1.2 }

/** Works a platform of two processes with everything that might make a decision flip, and holds every answer against the first. */
export async function work(plan: Plan): Promise<Outcome> {
  // The database is the one thing that nobody kills here: it need not wait for its disk.
  const { pathname } = new URL(plan.databaseUrl)
  await administer(`alter database ${pathname.slice(1)} set synchronous_commit = off`, plan.databaseUrl)
  const random = createRandom(plan.seed)
  const platform = await openScalePlatform(plan.databaseUrl, random)
  try {
    const world = await makeScaleWorld(await createApi(platform.places[0].server.url))
    const users = createUsers(random, Math.floor(plan.operations / OPERATIONS_PER_ID))
    const scene: Scene = { platform, world, users, random, tally: createTally(), oracle: createOracle() }
    const { operations, flips } = await play(scene, plan)
    if (flips.length === 0) flips.push(...(await lookBack(scene)))
    if (flips.length > 0) for (const { server } of platform.places) plan.onProgress?.(server.output().slice(-2000))
    const breaches = await findBreaches(scene)
    return { operations, flips, breaches, restarts: scene.tally.of('restarts'), lines: scene.tally.lines() }
  } finally {
    await platform.close()
  }
}

async function play(scene: Scene, plan: Plan): Promise<{ operations: number; flips: string[] }> {
  const { random, users, tally } = scene
  const flips: string[] = []
  let done = 0
  const isOver = () => done >= plan.operations || flips.length > 0

  async function ask() {
    while (!isOver()) {
      const operations = await calls[random.weighted(WEIGHTS)](scene)
      done += operations
      users.comeIn(done / plan.operations)
    }
  }
  /** Does it so often in all, at random moments. */
  async function spread(times: number, act: (scene: Scene) => Promise<unknown>) {
    for (let time = 0; time < times; time++) {
      const moment = (plan.operations * (time + random.below(1000) / 1000)) / times
      while (done < moment && !isOver()) await pause(20)
      if (flips.length > 0) return
      await act(scene)
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
    ...Array.from({ length: CONCURRENT }, () => guarded(ask())),
    guarded(spread(plan.restarts, restart)),
    guarded(spread(Math.ceil(plan.operations / OPERATIONS_PER_FAULT), causeFault)),
  ])
  clearInterval(timer)
  report()
  return { operations: done, flips }
}

/** When all is quiet: everybody is asked once more, and what is stored is compared. */
async function lookBack(scene: Scene): Promise<string[]> {
  const { tally } = scene
  const unexplained = tally.of('answered none: unexplained')
  await enableAll(scene)
  const { asked, silent } = await askEverybody(scene)
  const { faults, compared } = await compareStored(scene)
  tally.add('asked once more in the end', asked)
  tally.add('answers compared with what is stored', compared)
  return [
    ...(unexplained > 0 ? [`${unexplained} times somebody who is assigned was answered nothing`] : []),
    ...(silent > 0 ? [`${silent} times somebody who is assigned was answered nothing in the end`] : []),
    ...faults,
  ]
}
