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

/** The settings that an experiment is started with: shown before the start, and locked by it for the run. */

const DEFAULT_EFFECT = 0.05
/** Nearer to ±1, what is left to vary would be nothing. */
const MOST_CORRELATION = 0.99

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

/** Users and days for the planned effect, from what users did in the last two weeks. */
async function askPlanner(
  em: EntityManager,
  experiment: Experiment,
  metric: Attached | undefined,
  allocation: number[],
): Promise<Planner> {
  const nothing = { baseline: null, effect: null, total_users: null, users: null, days: null, weeks: null }
  if (!metric) return { ...nothing, reason: 'There is no primary metric to plan for' }
  const measure = measureOf(metric.definition)
  if (!measure)
    return { ...nothing, reason: 'Users cannot be planned for a quantile: its spread depends on its distribution' }
  const baseline = await readBaseline(em, measure)
  const effect = experiment.planned_effect ?? metric.definition.minimum_detectable_effect ?? DEFAULT_EFFECT
  const shown = { ...nothing, baseline, effect }
  if (allocation.length < 2) return { ...shown, reason: 'Fewer than two variants have a share' }
  const figures = figuresOf(metric, baseline)
  if (!figures) return { ...shown, reason: 'Nobody did what it measures in the last two weeks' }
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
      ? `the planner cannot say how many are needed: ${reason}`
      : `about ${total_users} are needed${days === null ? '' : `, which takes ${days} days`}`
  return [
    {
      item: 'variants',
      is_met: allocation.length >= 2,
      message: `${allocation.length} enabled variants have a share; at least two are needed`,
    },
    {
      item: 'primary_metric',
      is_met: primaries.length > 0,
      message:
        primaries.length > 0
          ? `Decided by ${named}`
          : "No primary metric: events of type 'conversion' decide unless one is set",
    },
    {
      item: 'exposure',
      is_met: true,
      message: exposure === 'on_check' ? 'A check exposes' : 'An event that reports what was shown exposes',
    },
    {
      item: 'method',
      is_met: true,
      message:
        analysis_method === 'sequential'
          ? 'Sequential: valid however often one looks'
          : analysis_method === 'fixed'
            ? 'Fixed: read once, when the planned users are there'
            : 'Bayesian: by the probability to be better, when the planned users are there',
    },
    {
      item: 'planned_effect',
      is_met: planned_effect !== null,
      message:
        planned_effect === null
          ? 'No effect is planned for'
          : `An uplift of ${Number((planned_effect * 100).toPrecision(6))} % is planned for`,
    },
    {
      item: 'planned_users',
      is_met: planned_users !== null && (total_users === null || planned_users >= total_users),
      message: `${planned_users === null ? 'No users are planned' : `${planned_users} users are planned`}; ${needed}`,
    },
  ]
}
