import type { TestApi } from '../../support/api.ts'

export type ScaleVariant = {
  id: number
  percent: number
  enabled: boolean
  /** The time until which a process may still see the variant as disabled, in milliseconds; Infinity while it is. */
  disabledUntil: number
  /** The time at which the variant was added. A process that missed the change does not answer the variant. */
  addedAt: number
}

/** The state of an experiment as the test knows it, and the requests under way. */
export type ScaleExperiment = {
  id: number
  key: string
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
  /** The number of requests under way that name the experiment. */
  inFlight: number
  /** True while a new run begins: no request may name the experiment. */
  isClosed: boolean
  isChanging: boolean
}

export type ScaleSegment = { id: number; name: string; canBeNobody: boolean }
export type ScaleDefinitions = { experiments: ScaleExperiment[]; segments: ScaleSegment[]; layerId: number }

/** Every condition of the test holds for this plan. */
export const GOLD = 'gold'
export const PLANS = [GOLD, 'silver', 'bronze'] as const
export const CONDITIONS = [
  { plan: GOLD },
  { plan: { $in: [GOLD, 'silver'] } },
  { plan: { $ne: 'bronze' } },
  { plan: { $in: [GOLD, 'bronze'] } },
] as const

/**
 * Creates and starts twelve experiments and a holdout, which cover every way in which decisions depend on one another.
 */
export async function createDefinitions(api: TestApi): Promise<ScaleDefinitions> {
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
    const { id, key } = made
    if (options.segment)
      await api.ok('POST', '/api/segments/assign-experiment', { experiment_id: id, segment_id: options.segment.id })
    if (options.percent !== undefined)
      await api.ok('PUT', `/api/layers/${layerId}/experiments/${id}`, { percent: options.percent })
    // Half of the experiments start by a call, the others by their first check.
    if (experiments.length % 2) await api.ok('POST', `/api/experiments/${id}/start`)
    else await api.variantOf('the first of all', { id }, { attributes: { plan: GOLD } })
    const experiment: ScaleExperiment = {
      id,
      key,
      name,
      variants: [],
      status: 'running',
      run: 1,
      leavesOut: false,
      holdout: null,
      isHoldout: false,
      layerId: options.percent === undefined ? null : layerId,
      hasCondition: false,
      inFlight: 0,
      isClosed: false,
      isChanging: false,
      ...traits,
    }
    updateExperiment(experiment, await api.ok('GET', `/api/experiments/${id}`))
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

/** Updates the known state of an experiment from the platform's answer. */
export function updateExperiment(experiment: ScaleExperiment, { status, runs, variants }: Detail) {
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
