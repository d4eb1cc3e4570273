import type { TestApi } from '../../support/api.ts'

export type ScaleVariant = {
  id: number
  percent: number
  enabled: boolean
  /** Until when (milliseconds) a process may take it for disabled; Infinity while it is. */
  disabledUntil: number
  /** When it was asked to be added; a process that missed it answers nobody with it. */
  addedAt: number
}

/** What the driver knows of an experiment, and who is at it. */
export type ScaleExperiment = {
  id: number
  name: string
  variants: ScaleVariant[]
  status: 'running' | 'paused'
  /** The number of its current run. */
  run: number
  leavesOut: boolean
  holdout: ScaleExperiment | null
  isHoldout: boolean
  layerId: number | null
  hasCondition: boolean
  /** Requests under way that name it. */
  inFlight: number
  /** Nobody may name it: a new run begins. */
  isClosed: boolean
  isChanging: boolean
}

export type ScaleSegment = { id: number; name: string; canBeNobody: boolean }
export type ScaleWorld = { experiments: ScaleExperiment[]; segments: ScaleSegment[]; layerId: number }

/** What every condition that is ever set holds for. */
export const GOLD = 'gold'
export const PLANS = [GOLD, 'silver', 'bronze'] as const
export const CONDITIONS = [
  { plan: GOLD },
  { plan: { $in: [GOLD, 'silver'] } },
  { plan: { $ne: 'bronze' } },
  { plan: { $in: [GOLD, 'bronze'] } },
] as const

/** Twelve experiments and a holdout: every way that decisions can hang together; all of them started. */
export async function makeScaleWorld(api: TestApi): Promise<ScaleWorld> {
  const halves = { control: 50, treatment: 50 }
  const { id: layerId } = await api.ok('POST', '/api/layers', { name: 'one of two' })
  const segment = async (name: string, canBeNobody: boolean): Promise<ScaleSegment> => {
    const { id } = await api.ok('POST', '/api/segments', { name, rules: CONDITIONS[1] })
    return { id, name, canBeNobody }
  }
  const [loose, firm, named] = [
    await segment('loose', true),
    await segment('firm', false),
    await segment('named', true),
  ]
  const experiments: ScaleExperiment[] = []

  type Options = { shares?: Record<string, number>; settings?: object; segment?: ScaleSegment; percent?: number }
  async function add(name: string, options: Options = {}, traits: Partial<ScaleExperiment> = {}) {
    const made = traits.isHoldout
      ? await api.ok('POST', '/api/experiments', { name, ...options.settings })
      : await api.makeExperiment(options.shares ?? halves, { name, ...options.settings })
    const { id } = made
    if (options.segment)
      await api.ok('POST', '/api/segments/assign-experiment', { experiment_id: id, segment_id: options.segment.id })
    if (options.percent !== undefined)
      await api.ok('PUT', `/api/layers/${layerId}/experiments/${id}`, { percent: options.percent })
    // Half of them by hand, the others by the first check.
    if (experiments.length % 2) await api.ok('POST', `/api/experiments/${id}/start`)
    else await api.variantOf('the first of all', { id }, { attributes: { plan: GOLD } })
    const experiment: ScaleExperiment = {
      ...{ id, name, variants: [], status: 'running', run: 1, leavesOut: false, holdout: null, isHoldout: false },
      ...{ layerId: options.percent === undefined ? null : layerId, hasCondition: false },
      ...{ inFlight: 0, isClosed: false, isChanging: false },
      ...traits,
    }
    takeIn(experiment, await api.ok('GET', `/api/experiments/${id}`))
    experiments.push(experiment)
    return experiment
  }

  const plain = await add('plain')
  await add('three', { shares: { control: 34, second: 33, third: 33 } })
  await add('some traffic', { settings: { traffic_percent: 60 } })
  await add('half allocated', { shares: { control: 20, treatment: 30 } })
  await add('condition', { settings: { condition: CONDITIONS[1] } }, { hasCondition: true })
  await add('segment', { segment: loose, settings: { condition: { id: { $notInGroup: named.id } } } })
  const leaving = { settings: { condition: CONDITIONS[1], on_ineligible: 'leave_out' }, segment: firm }
  await add('leave out', leaving, { leavesOut: true, hasCondition: true })
  await add('one of the layer', { percent: 40 })
  await add('other of the layer', { percent: 30 })
  const holding = { settings: { kind: 'holdout', percent_held: 20 } }
  const holdout = await add('holdout', holding, { isHoldout: true })
  await add('held', { settings: { holdout_id: holdout.id } }, { holdout })
  await add('held too', { settings: { holdout_id: holdout.id }, percent: 20 }, { holdout })
  const prerequisites = [{ experiment_id: plain.id, variant_ids: plain.variants.slice(0, 1).map(({ id }) => id) }]
  await add('prerequisite', { settings: { prerequisites } })
  return { experiments, segments: [loose, firm, named], layerId }
}

type Detail = {
  status: ScaleExperiment['status']
  runs: { number: number }[]
  variants: { id: number; percent_allocated: number; enabled: boolean }[]
}

/** What the platform says of an experiment becomes what the driver knows of it. */
export function takeIn(experiment: ScaleExperiment, { status, runs, variants }: Detail) {
  experiment.status = status
  experiment.run = runs.at(-1)?.number ?? 0
  experiment.variants = variants.map(({ id, percent_allocated: percent, enabled }) => {
    const known = experiment.variants.find((variant) => variant.id === id)
    const disabledUntil = enabled ? Math.min(known?.disabledUntil ?? 0, Date.now()) : Number.POSITIVE_INFINITY
    return {
      id,
      percent,
      enabled,
      disabledUntil,
      addedAt: known?.addedAt ?? (experiment.variants.length ? Date.now() : 0),
    }
  })
}
