import type { EntityManager } from '@mikro-orm/sql'
import { DomainError } from '../errors.ts'
import type { Experiment } from '../experiments/entity.ts'
import { looksOf } from '../experiments/plan.ts'
import type { Attached } from '../metrics/attached.ts'
import { hasCovariate, measureOf } from '../metrics/measure.ts'
import { typeOf } from '../metrics/metric-types.ts'
import { DEFAULT_TUNING } from '../statistics/sequential.ts'
import { type Baseline, readBaseline } from './baseline.ts'
import { type AskedGuardrail, planGuardrails } from './guardrails.ts'
import { METHODS, type Method } from './methods.ts'
import type { Checklist, PlanSampleSize } from './schema.ts'
import { planPower, planSampleSize } from './service.ts'

/** The planner's figures of an experiment, from the events of the last two weeks. */

const DEFAULT_EFFECT = 0.05
const DEFAULT_MARGIN = { type: 'relative', size: 0.05 } as const
const CONFIDENCE_LEVEL = 0.95
export const POWER = 0.8
/** The largest correlation that is planned with; at ±1 CUPED would leave no variance, and no users would be needed. */
const MOST_CORRELATION = 0.99

export type Planner = Checklist['planner']

/** Computes the users and days that the planned effect needs by each method, and what the guardrails need. */
export async function askPlanner(
  em: EntityManager,
  experiment: Experiment,
  attached: readonly Attached[],
  allocation: readonly number[],
): Promise<Planner> {
  const primaries = attached.filter(({ role }) => role === 'primary')
  const plans = await planPrimary(em, experiment, primaries, allocation)
  const atUsers = experiment.planned_users ?? plans.total_users
  const guardrails = attached.filter(({ role }) => role === 'guardrail')
  return {
    ...plans,
    guardrails:
      atUsers === null || guardrails.length === 0 || allocation.length < 2
        ? null
        : await planAttachedGuardrails(em, experiment, guardrails, allocation, atUsers),
  }
}

/** The looks of the experiment by the method group_sequential, whichever method it has. */
export const plannedLooks = ({ planned_looks }: Experiment) => looksOf('group_sequential', planned_looks)

/** The method that is planned with. Bayesian figures are read once, as those of a fixed test. */
const methodOf = ({ analysis_method: method }: Experiment): Method => (method === 'bayesian' ? 'fixed' : method)

async function planPrimary(
  em: EntityManager,
  experiment: Experiment,
  primaries: readonly Attached[],
  allocation: readonly number[],
): Promise<Omit<Planner, 'guardrails'>> {
  const [metric] = primaries
  const nothing = {
    baseline: null,
    effect: null,
    total_users: null,
    users: null,
    days: null,
    weeks: null,
    plans: [],
  }
  if (!metric) return { ...nothing, reason: 'No primary metric is attached: attach one to plan for it' }
  if (isQuantile(metric)) return { ...nothing, reason: QUANTILE }
  const baseline = await readBaseline(em, measureOf(metric.definition))
  const effect = experiment.planned_effect ?? metric.definition.minimum_detectable_effect ?? DEFAULT_EFFECT
  const shown = { ...nothing, baseline, effect }
  if (allocation.length < 2)
    return { ...shown, reason: 'Fewer than two enabled variants have a share: allocate shares first' }
  const figures = figuresOf(metric, baseline)
  if (!figures) return { ...shown, reason: NO_EVENTS }
  const question = {
    metric: figures,
    confidence_level: CONFIDENCE_LEVEL,
    primary_metrics: primaries.length,
    power: POWER,
    covariate_correlation: correlationOf(metric, baseline),
    looks: plannedLooks(experiment),
    tuning: experiment.planned_users ?? undefined,
    relative_effect: effect,
    allocation: [...allocation],
    daily_users: baseline.daily_users,
    traffic_percent: experiment.traffic_percent,
    guardrails: [],
  }
  try {
    const plans = METHOD_NAMES.map((method) => comparePlan({ ...question, method }, experiment))
    const own = plans.find(({ method }) => method === methodOf(experiment)) as Planner['plans'][number]
    const { total_users, users, days, weeks } = own
    return { ...shown, total_users, users, days, weeks, plans, reason: null }
  } catch (error) {
    if (!(error instanceof DomainError)) throw error
    return { ...shown, reason: error.message }
  }
}

const METHOD_NAMES = Object.keys(METHODS) as Method[]
const QUANTILE = 'Users cannot be planned for a quantile, because its spread depends on the distribution of the values'
const NO_EVENTS = 'The last two weeks have no events from which the metric and its spread can be computed'

function comparePlan(input: PlanSampleSize, experiment: Experiment): Planner['plans'][number] {
  const { planned_users: plannedUsers } = experiment
  const shares = input.allocation.reduce((sum, share) => sum + share, 0)
  const users = input.allocation.map((share) => Math.max(1, Math.round(((plannedUsers ?? 0) * share) / shares)))
  return {
    method: input.method,
    ...planSampleSize(input),
    power_at_planned_users: plannedUsers === null ? null : planPower({ ...input, users }).power,
    peeking: METHODS[input.method].peeking(plannedLooks(experiment)),
  }
}

/** Plans each guardrail by its own baseline and margin, and all together that have figures. */
async function planAttachedGuardrails(
  em: EntityManager,
  experiment: Experiment,
  guardrails: readonly Attached[],
  allocation: readonly number[],
  atUsers: number,
): Promise<Planner['guardrails']> {
  const plan = {
    method: methodOf(experiment),
    confidenceLevel: CONFIDENCE_LEVEL,
    power: POWER,
    looks: plannedLooks(experiment),
    tuning: experiment.planned_users ?? DEFAULT_TUNING,
  }
  const asked: AskedGuardrail[] = []
  const each: NonNullable<Planner['guardrails']>['each'] = []
  for (const metric of guardrails) {
    const baseline = await readBaseline(em, measureOf(metric.definition))
    const { guardrail, reason } = askedOf(metric, baseline)
    const figures = guardrail && planGuardrails([guardrail], plan, allocation, atUsers)?.each[0]
    if (guardrail) asked.push(guardrail)
    each.push({
      key: metric.key,
      name: metric.name,
      margin: marginOf(metric),
      baseline,
      ...(figures ?? { power: null, total_users: null, smallest_margin: null, is_in_reach: null }),
      reason,
    })
  }
  const all = planGuardrails(asked, plan, allocation, atUsers)
  return { at_users: atUsers, power: all?.power ?? null, total_users: all?.total_users ?? null, each }
}

type Asked = { guardrail: AskedGuardrail; reason: null } | { guardrail: null; reason: string }

function askedOf(metric: Attached, baseline: Baseline): Asked {
  const figures = figuresOf(metric, baseline)
  if (isQuantile(metric)) return { guardrail: null, reason: QUANTILE }
  if (!figures) return { guardrail: null, reason: NO_EVENTS }
  const margin = marginOf(metric)
  if (margin.type === 'relative' && !((baseline.level ?? 0) > 0))
    return { guardrail: null, reason: 'The margin is relative, and the level is not above 0' }
  const { direction } = metric.definition
  const correlation = correlationOf(metric, baseline)
  return { guardrail: { metric: figures, margin, direction, covariate_correlation: correlation }, reason: null }
}

const marginOf = ({ definition }: Attached) => definition.guardrail_margin ?? DEFAULT_MARGIN

const isQuantile = ({ definition }: Attached) => typeOf(definition).kind === 'quantile'

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
