import { pause, type Reply } from './call.ts'
import { askFor, expectOk, type Scene } from './questions.ts'
import { CONDITIONS, GOLD, type ScaleExperiment, type ScaleVariant, takeIn } from './world.ts'

/** Changes of definitions, one at a time for each experiment, while everybody goes on asking. */

const KINDS = {
  'allocation moved': 10,
  'variant disabled and enabled': 6,
  'paused and resumed': 6,
  'condition changed': 4,
  'traffic changed': 4,
  'rules of a segment changed': 4,
  'share of the layer moved': 4,
  'variant added': 0.5,
  'new run': 1,
}
const MOST_VARIANTS = 6
/** How long a variant is disabled or an experiment paused, at most. */
const MOST_AWAY_MS = 1500

export async function change(scene: Scene): Promise<number> {
  const { random, world, tally } = scene
  const kind = random.weighted(KINDS)
  const fits = (experiment: ScaleExperiment) =>
    kind === 'condition changed'
      ? experiment.hasCondition
      : kind === 'share of the layer moved'
        ? experiment.layerId !== null
        : kind === 'allocation moved' || kind === 'traffic changed' || !experiment.isHoldout
  const idle = world.experiments.filter((experiment) => fits(experiment) && !experiment.isChanging)
  if (idle.length === 0) return 0
  const experiment = random.pick(idle)
  experiment.isChanging = true
  try {
    const done = await steps[kind](scene, experiment)
    tally.add(`changes: ${kind}`, done)
    return done
  } finally {
    experiment.isChanging = false
  }
}

type Step = (scene: Scene, experiment: ScaleExperiment) => Promise<number>

const steps: Record<keyof typeof KINDS, Step> = {
  'allocation moved': async (scene, experiment) => {
    const [from, to] = scene.random.some(experiment.variants, 2) as [ScaleVariant, ScaleVariant]
    const free = 100 - experiment.variants.reduce((sum, { percent }) => sum + percent, 0)
    const moved = scene.random.below(from.percent + 1)
    const put = (variant: ScaleVariant, percent_allocated: number) =>
      send(scene, experiment, 'PUT', `variants/${variant.id}`, { percent_allocated })
    const target = to.percent + scene.random.below(Math.floor(moved + free) + 1)
    // Each of the two as far as it is known: where the first got no answer, the second may be refused.
    return (await put(from, from.percent - moved)) + (await put(to, experiment.isHoldout ? to.percent + moved : target))
  },
  'variant disabled and enabled': async (scene, experiment) => {
    const variant = scene.random.pick(experiment.variants)
    variant.disabledUntil = Number.POSITIVE_INFINITY
    const put = (enabled: boolean) => send(scene, experiment, 'PUT', `variants/${variant.id}`, { enabled })
    const done = await put(false)
    await pause(scene.random.below(MOST_AWAY_MS))
    return done + (await put(true))
  },
  'paused and resumed': async (scene, experiment) => {
    const done = await send(scene, experiment, 'POST', 'pause')
    await pause(scene.random.below(MOST_AWAY_MS))
    return done + (await send(scene, experiment, 'POST', 'resume'))
  },
  'condition changed': (scene, experiment) =>
    send(scene, experiment, 'PUT', '', { condition: scene.random.pick(CONDITIONS) }),
  'traffic changed': (scene, experiment) =>
    send(scene, experiment, 'PUT', '', { traffic_percent: scene.random.pick([20, 50, 80, 100]) }),
  'rules of a segment changed': async ({ platform, random, world }) => {
    const segment = random.pick(world.segments)
    const rules = segment.canBeNobody && random.chance(0.2) ? { plan: 'nobody' } : random.pick(CONDITIONS)
    const reply = await platform.call('PUT', `/api/segments/${segment.id}`, { rules })
    if (reply) expectOk(reply, `rules of segment ${segment.name}`)
    return 1
  },
  'share of the layer moved': async ({ platform, random }, experiment) => {
    const path = `/api/layers/${experiment.layerId}/experiments/${experiment.id}`
    const reply = await platform.call('PUT', path, { percent: random.pick([5, 10, 20, 30, 40, 50]) })
    // What the others hold may leave too little.
    if (reply) expectOk(reply, path, [400])
    return 1
  },
  'variant added': async (scene, experiment) => {
    if (experiment.variants.length >= MOST_VARIANTS) return 0
    const name = `added ${scene.random.below(1e9)}`
    return send(scene, experiment, 'POST', 'variants', { name, percent_allocated: scene.random.pick([0, 5]) })
  },
  'new run': beginRun,
}

/** Sends a change and takes in what became of it, also where nobody answered. */
async function send(scene: Scene, experiment: ScaleExperiment, method: string, path: string, body?: object) {
  const where = `/api/experiments/${experiment.id}${path && `/${path}`}`
  const reply = await scene.platform.call(method, where, body)
  // Shares may be full, a run may lack two enabled variants.
  if (reply) expectOk(reply, `${method} ${where}`, [400, 409])
  await lookAgain(scene, experiment, reply)
  return 1
}

/** A change that nobody answered may still be on its way into the database, for as long as a commit takes. */
const ON_ITS_WAY_MS = 1000

async function lookAgain({ platform, tally }: Scene, experiment: ScaleExperiment, reply: Reply) {
  if (!reply) {
    tally.add('no answer to a change')
    await pause(ON_ITS_WAY_MS)
  }
  const path = `/api/experiments/${experiment.id}`
  takeIn(experiment, expectOk(await platform.insist('GET', path), path))
}

/** A new randomisation: nobody asks meanwhile, and not before every process knows of it. */
async function beginRun(scene: Scene, experiment: ScaleExperiment) {
  experiment.isClosed = true
  try {
    while (experiment.inFlight > 0) await pause(5)
    const done = await send(scene, experiment, 'POST', 'runs')
    for (const place of scene.platform.places) await bringUpToDate(scene, experiment, place)
    return done
  } finally {
    experiment.isClosed = false
  }
}

/** Whoever was never decided for is answered by the newest definition, which the process has from then on. */
async function bringUpToDate(scene: Scene, experiment: ScaleExperiment, place: Scene['platform']['places'][number]) {
  for (;;) {
    const { server } = place
    let isAnswered = false
    const call: Scene['platform']['call'] = async (...what) => {
      const reply = place.isUp ? await place.call(...what) : null
      isAnswered = reply !== null
      return reply
    }
    await askFor(scene, call, { userId: scene.users.unheardOf(), plan: GOLD }, [experiment])
    if (isAnswered && place.server === server) return
    await pause(100)
  }
}

/** At the end: everything is enabled and resumed, so that whoever was answered is answered. */
export async function enableAll(scene: Scene) {
  for (const experiment of scene.world.experiments) {
    for (const { id, enabled } of experiment.variants)
      if (!enabled) await send(scene, experiment, 'PUT', `variants/${id}`, { enabled: true })
    if (experiment.status === 'paused') await send(scene, experiment, 'POST', 'resume')
    if (experiment.status !== 'running' || experiment.variants.some(({ enabled }) => !enabled))
      throw new Error(`${experiment.name} cannot be enabled`)
  }
}
