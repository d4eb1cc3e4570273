import { pause, type Reply } from './call.ts'
import { CONDITIONS, GOLD, type ScaleExperiment, type ScaleVariant, updateExperiment } from './definitions.ts'
import { askFor, expectOk, type Simulation } from './questions.ts'

/** Changes definitions while checks go on. Each experiment has one change at a time. */

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
const MAX_VARIANTS = 6
/** The longest time for which a variant is disabled or an experiment is paused. */
const MAX_OFF_MS = 1500

export async function change(simulation: Simulation): Promise<number> {
  const { random, definitions, tally } = simulation
  const kind = random.weighted(KINDS)
  const fits = (experiment: ScaleExperiment) =>
    kind === 'condition changed'
      ? experiment.hasCondition
      : kind === 'share of the layer moved'
        ? experiment.layerId !== null
        : kind === 'allocation moved' || kind === 'traffic changed' || !experiment.isHoldout
  const idle = definitions.experiments.filter((experiment) => fits(experiment) && !experiment.isChanging)
  if (idle.length === 0) return 0
  const experiment = random.pick(idle)
  experiment.isChanging = true
  try {
    const done = await steps[kind](simulation, experiment)
    tally.add(`changes: ${kind}`, done)
    return done
  } finally {
    experiment.isChanging = false
  }
}

type Step = (simulation: Simulation, experiment: ScaleExperiment) => Promise<number>

const steps: Record<keyof typeof KINDS, Step> = {
  'allocation moved': async (simulation, experiment) => {
    const [from, to] = simulation.random.some(experiment.variants, 2) as [ScaleVariant, ScaleVariant]
    const free = 100 - experiment.variants.reduce((sum, { percent }) => sum + percent, 0)
    const moved = simulation.random.below(from.percent + 1)
    const put = (variant: ScaleVariant, percent_allocated: number) =>
      send(simulation, experiment, 'PUT', `variants/${variant.id}`, { percent_allocated })
    const target = to.percent + simulation.random.below(Math.floor(moved + free) + 1)
    // Each change uses the last known shares. If the first change gets no answer, the platform may refuse the second.
    return (await put(from, from.percent - moved)) + (await put(to, experiment.isHoldout ? to.percent + moved : target))
  },
  'variant disabled and enabled': async (simulation, experiment) => {
    const variant = simulation.random.pick(experiment.variants)
    variant.disabledUntil = Number.POSITIVE_INFINITY
    const put = (enabled: boolean) => send(simulation, experiment, 'PUT', `variants/${variant.id}`, { enabled })
    const done = await put(false)
    await pause(simulation.random.below(MAX_OFF_MS))
    return done + (await put(true))
  },
  'paused and resumed': async (simulation, experiment) => {
    const done = await send(simulation, experiment, 'POST', 'pause')
    await pause(simulation.random.below(MAX_OFF_MS))
    return done + (await send(simulation, experiment, 'POST', 'resume'))
  },
  'condition changed': (simulation, experiment) =>
    send(simulation, experiment, 'PUT', '', { condition: simulation.random.pick(CONDITIONS) }),
  'traffic changed': (simulation, experiment) =>
    send(simulation, experiment, 'PUT', '', { traffic_percent: simulation.random.pick([20, 50, 80, 100]) }),
  'rules of a segment changed': async ({ platform, random, definitions }) => {
    const segment = random.pick(definitions.segments)
    const rules = segment.canBeNobody && random.chance(0.2) ? { plan: 'nobody' } : random.pick(CONDITIONS)
    const reply = await platform.call('PUT', `/api/segments/${segment.id}`, { rules })
    if (reply) expectOk(reply, `rules of segment ${segment.name}`)
    return 1
  },
  'share of the layer moved': async ({ platform, random }, experiment) => {
    const path = `/api/layers/${experiment.layerId}/experiments/${experiment.id}`
    const reply = await platform.call('PUT', path, { percent: random.pick([5, 10, 20, 30, 40, 50]) })
    // The platform refuses a share if the other experiments leave too few free positions.
    if (reply) expectOk(reply, path, [400])
    return 1
  },
  'variant added': async (simulation, experiment) => {
    if (experiment.variants.length >= MAX_VARIANTS) return 0
    const name = `added ${simulation.random.below(1e9)}`
    return send(simulation, experiment, 'POST', 'variants', { name, percent_allocated: simulation.random.pick([0, 5]) })
  },
  'new run': beginRun,
}

/** Sends a change and reads the resulting experiment, even if the change got no answer. */
async function send(simulation: Simulation, experiment: ScaleExperiment, method: string, path: string, body?: object) {
  const where = `/api/experiments/${experiment.id}${path && `/${path}`}`
  const reply = await simulation.platform.call(method, where, body)
  // The platform may refuse it: the shares are full, or a run lacks two enabled variants.
  if (reply) expectOk(reply, `${method} ${where}`, [400, 409])
  await reload(simulation, experiment, reply)
  return 1
}

/** A change without an answer may still be committed within this time. */
const COMMIT_MS = 1000

async function reload({ platform, tally }: Simulation, experiment: ScaleExperiment, reply: Reply) {
  if (!reply) {
    tally.add('no answer to a change')
    await pause(COMMIT_MS)
  }
  const path = `/api/experiments/${experiment.id}`
  updateExperiment(experiment, expectOk(await platform.insist('GET', path), path))
}

/** Begins a new run. No check names the experiment until every process knows the run. */
async function beginRun(simulation: Simulation, experiment: ScaleExperiment) {
  experiment.isClosed = true
  try {
    while (experiment.inFlight > 0) await pause(5)
    const done = await send(simulation, experiment, 'POST', 'runs', { confirm: experiment.key })
    for (const instance of simulation.platform.instances) await bringUpToDate(simulation, experiment, instance)
    return done
  } finally {
    experiment.isClosed = false
  }
}

/** Makes a process load the newest definitions: a check for a new user always uses them, and the process keeps them. */
async function bringUpToDate(
  simulation: Simulation,
  experiment: ScaleExperiment,
  instance: Simulation['platform']['instances'][number],
) {
  for (;;) {
    const { server } = instance
    let isAnswered = false
    const call: Simulation['platform']['call'] = async (...what) => {
      const reply = instance.isUp ? await instance.call(...what) : null
      isAnswered = reply !== null
      return reply
    }
    await askFor(simulation, call, { userId: simulation.users.newcomer(), plan: GOLD }, [experiment])
    if (isAnswered && instance.server === server) return
    await pause(100)
  }
}

/** Enables all variants and resumes all experiments at the end, so that every assigned user gets their variant. */
export async function enableAll(simulation: Simulation) {
  for (const experiment of simulation.definitions.experiments) {
    for (const { id, enabled } of experiment.variants)
      if (!enabled) await send(simulation, experiment, 'PUT', `variants/${id}`, { enabled: true })
    if (experiment.status === 'paused') await send(simulation, experiment, 'POST', 'resume')
    if (experiment.status !== 'running' || experiment.variants.some(({ enabled }) => !enabled))
      throw new Error(`${experiment.name} cannot be enabled`)
  }
}
