import type { EntityManager } from '@mikro-orm/sql'
import { DomainError, notFound } from '../errors.ts'
import { hasUnfinishedRun, variantsOf } from '../experiments/changes.ts'
import { type Experiment, Experiment as ExperimentEntity, Run } from '../experiments/entity.ts'
import { planOf } from '../experiments/plan.ts'
import { type Attached, readAttached } from '../metrics/attached.ts'
import { hasCovariate, measureOf } from '../metrics/measure.ts'
import { typeOf } from '../metrics/metric-types.ts'
import { type Baseline, readBaseline } from './baseline.ts'
import type { Checklist, PlanSampleSize } from './schema.ts'
import { planSampleSize } from './service.ts'

/** Shows the plan of an experiment and what it still lacks before the start. The start locks the plan for the run. */

const DEFAULT_EFFECT = 0.05
/** The largest correlation that is planned with; at ±1 CUPED would leave no variance, and no users would be needed. */
const MOST_CORRELATION = 0.99

/**
 * Reads the plan of an experiment, the items that should be settled before the start, and the planner's figures from
 * recent traffic.
 * @throws DomainError NOT_FOUND for an unknown experiment
 */
export async function readChecklist(em: EntityManager, experimentId: number): Promise<Checklist> {
  const experiment = await em.findOne(ExperimentEntity, experimentId)
  if (!experiment) throw notFound('Experiment', experimentId)
  const attached = await readAttached(em, experimentId)
  const primaries = attached.filter(({ role }) => role === 'primary')
  const isLocked = hasUnfinishedRun(experiment)
  const [run] = await em.find(Run, { experiment_id: experimentId }, { orderBy: { number: 'desc' }, limit: 1 })
  const plan =
    (isLocked && run?.plan) ||
    planOf(
      experiment,
      primaries.map(({ key, version }) => ({ key, version })),
    )
  const shares = (await variantsOf(em, experimentId)).filter(
    ({ enabled, percent_allocated }) => enabled && percent_allocated > 0,
  )
  const allocation = [...shares]
    .sort((one, other) => Number(other.is_control) - Number(one.is_control))
    .map((variant) => variant.percent_allocated)
  const planner = await askPlanner(em, experiment, primaries[0], allocation)
  const items = itemsOf(experiment, primaries, allocation, planner)
  return {
    experiment_id: experimentId,
    is_locked: isLocked,
    is_ready: items.every(({ is_met }) => is_met),
    plan,
    items,
    planner,
  }
}

type Planner = Checklist['planner']

/** Computes the users and days that the planned effect needs, from the events of the last two weeks. */
async function askPlanner(
  em: EntityManager,
  experiment: Experiment,
  metric: Attached | undefined,
  allocation: number[],
): Promise<Planner> {
  const nothing = { baseline: null, effect: null, total_users: null, users: null, days: null, weeks: null }
  if (!metric) return { ...nothing, reason: 'No primary metric is attached: attach one to plan for it' }
  if (typeOf(metric.definition).kind === 'quantile')
    return {
      ...nothing,
      reason: 'Users cannot be planned for a quantile, because its spread depends on the distribution of the values',
    }
  const baseline = await readBaseline(em, measureOf(metric.definition))
  const effect = experiment.planned_effect ?? metric.definition.minimum_detectable_effect ?? DEFAULT_EFFECT
  const shown = { ...nothing, baseline, effect }
  if (allocation.length < 2)
    return { ...shown, reason: 'Fewer than two enabled variants have a share: allocate shares first' }
  const figures = figuresOf(metric, baseline)
  if (!figures)
    return {
      ...shown,
      reason: 'The last two weeks have no events from which the metric and its spread can be computed',
    }
  try {
    const { total_users, users, days, weeks } = planSampleSize({
      metric: figures,
      confidence_level: 0.95,
      power: 0.8,
      covariate_correlation: correlationOf(metric, baseline),
      method: experiment.analysis_method === 'sequential' ? 'sequential' : 'fixed',
      tuning: experiment.planned_users ?? undefined,
      relative_effect: effect,
      allocation,
      daily_users: baseline.daily_users,
      traffic_percent: experiment.traffic_percent,
    })
    return { ...shown, total_users, users, days, weeks, reason: null }
  } catch (error) {
    if (!(error instanceof DomainError)) throw error
    return { ...shown, reason: error.message }
  }
}

function figuresOf(
  { definition }: Attached,
  { level, standard_deviation: spread }: Baseline,
): PlanSampleSize['metric'] | null {
  if (level === null || spread === null || !(spread > 1e-12) || Math.abs(level) < 1e-12) return null
  const { kind } = typeOf(definition)
  switch (kind) {
    case 'proportion':
      return level < 1 ? { type: kind, rate: level } : null
    case 'ratio':
      return { type: kind, ratio: level, standard_deviation: spread }
    case 'mean':
      return { type: kind, mean: level, standard_deviation: spread }
    case 'quantile':
      return null
  }
}

function correlationOf({ definition }: Attached, { correlation }: Baseline): number {
  return hasCovariate(definition) && correlation !== null
    ? Math.max(-MOST_CORRELATION, Math.min(MOST_CORRELATION, correlation))
    : 0
}

function itemsOf(
  { exposure, analysis_method, planned_users, planned_effect }: Experiment,
  primaries: readonly Attached[],
  allocation: readonly number[],
  { total_users, days, reason }: Planner,
): Checklist['items'] {
  const named = primaries.map(({ name }) => name).join(', ')
  const needed =
    total_users === null
      ? `the planner cannot compute how many are needed: ${reason}`
      : `about ${total_users} are needed${days === null ? '' : `, which takes ${days} days`}`
  return [
    {
      item: 'variants',
      is_met: allocation.length >= 2,
      message: `${allocation.length} enabled variants have a share of the traffic; at least two are needed`,
    },
    {
      item: 'primary_metric',
      is_met: primaries.length > 0,
      message:
        primaries.length > 0 ? `${named} decides` : "No primary metric is attached: events of type 'conversion' decide",
    },
    {
      item: 'exposure',
      is_met: true,
      message:
        exposure === 'on_check'
          ? 'A check of eligibility exposes the user'
          : 'An event that reports the shown variant exposes the user',
    },
    {
      item: 'method',
      is_met: true,
      message:
        analysis_method === 'sequential'
          ? 'Sequential: the results are valid at any time, however often they are read'
          : analysis_method === 'fixed'
            ? 'Fixed: the results are read once, when the planned users were exposed'
            : 'Bayesian: the probability to be better decides, when the planned users were exposed',
    },
    {
      item: 'planned_effect',
      is_met: planned_effect !== null,
      message:
        planned_effect === null
          ? 'planned_effect is not set'
          : `The planned uplift is ${Number((planned_effect * 100).toPrecision(6))} %`,
    },
    {
      item: 'planned_users',
      is_met: planned_users !== null && (total_users === null || planned_users >= total_users),
      message: `${planned_users === null ? 'planned_users is not set' : `${planned_users} users are planned`}; ${needed}`,
    },
  ]
}
