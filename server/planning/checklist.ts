import type { EntityManager } from '@mikro-orm/sql'
import { notFound } from '../errors.ts'
import { hasUnfinishedRun, variantsOf } from '../experiments/changes.ts'
import { type Experiment, Experiment as ExperimentEntity, Run, type Variant } from '../experiments/entity.ts'
import { planOf } from '../experiments/plan.ts'
import { sharesFault } from '../experiments/shares.ts'
import { type Attached, readAttached } from '../metrics/attached.ts'
import { askPlanner, type Planner, POWER, plannedLooks } from './experiment-plans.ts'
import type { Checklist } from './schema.ts'

/** Shows the plan of an experiment and what it still lacks before the start. The start locks the plan for the run. */

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
  const variants = await variantsOf(em, experimentId)
  const allocation = variants
    .filter(({ enabled, percent_allocated }) => enabled && percent_allocated > 0)
    .sort((one, other) => Number(other.is_control) - Number(one.is_control))
    .map((variant) => variant.percent_allocated)
  const planner = await askPlanner(em, experiment, attached, allocation)
  const items = [variantsItem(experiment, variants), ...itemsOf(experiment, primaries, planner)]
  const isReady = items.every(({ is_met }) => is_met)
  return {
    experiment_id: experimentId,
    is_locked: isLocked,
    is_ready: experiment.status === 'draft' ? isReady : null,
    state: stateOf(experiment, isReady),
    // Plans that earlier versions stored name no rule: such runs exclude crossovers.
    plan: { ...plan, crossovers: plan.crossovers ?? 'exclude' },
    items,
    planner,
  }
}

/** Says what the checklist means for an experiment in this status. */
function stateOf({ status }: Experiment, isReady: boolean): string {
  switch (status) {
    case 'draft':
      return isReady ? 'Ready to start' : 'Not all items are met; a start needs only the variants'
    case 'running':
    case 'paused':
      return `The experiment is ${status}: its plan is locked, and the items describe this run`
    default:
      return `The experiment is ${status}: the items describe a new run`
  }
}

function itemsOf(
  experiment: Experiment,
  primaries: readonly Attached[],
  { total_users, days, reason, guardrails }: Planner,
): Checklist['items'] {
  const { exposure, analysis_method: method, planned_users, planned_effect } = experiment
  const named = primaries.map(({ name }) => name).join(', ')
  const needed =
    total_users === null
      ? `the planner cannot compute how many are needed: ${reason}`
      : `about ${total_users} are needed${days === null ? '' : `, which takes ${days} days`}`
  return [
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
      is_met: method !== 'group_sequential' || planned_users !== null,
      message: methodMessage(experiment),
    },
    {
      item: 'planned_effect',
      is_met: planned_effect !== null,
      message:
        planned_effect === null ? 'planned_effect is not set' : `The planned uplift is ${percentOf(planned_effect)}`,
    },
    {
      item: 'planned_users',
      is_met: planned_users !== null && (total_users === null || planned_users >= total_users),
      message: `${planned_users === null ? 'planned_users is not set' : `${planned_users} users are planned`}; ${needed}`,
    },
    ...(guardrails ? [guardrailItem(guardrails)] : []),
  ]
}

function variantsItem({ kind }: Experiment, variants: readonly Variant[]): Checklist['items'][number] {
  const drawn = variants.filter(({ enabled, percent_allocated }) => enabled && percent_allocated > 0)
  const fault = sharesFault(variants)
  const held = kind === 'holdout' ? variants.find(({ is_control }) => is_control)?.percent_allocated : undefined
  const heldOut =
    held !== undefined && held < 1 ? `; percent_held is a percentage: ${held} keeps out ${held} % of the users` : ''
  return {
    item: 'variants',
    is_met: drawn.length >= 2 && fault === null,
    message: fault ?? `${drawn.length} enabled variants have a share of the traffic; at least two are needed${heldOut}`,
  }
}

function methodMessage(experiment: Experiment): string {
  switch (experiment.analysis_method) {
    case 'sequential':
      return 'Sequential: the results are valid at any time, however often they are read'
    case 'group_sequential':
      return `Group sequential: the results decide at ${plannedLooks(experiment)} looks, equally spaced in the planned users`
    case 'fixed':
      return 'Fixed: the results are read once, when the planned users were exposed'
    default:
      return 'Bayesian: the probability to be better decides, when the planned users were exposed'
  }
}

const percentOf = (share: number) => `${Number((share * 100).toPrecision(6))} %`

/** Says how probable it is that a harmless treatment passes all guardrails, and which margins are out of reach. */
function guardrailItem({ at_users, power, total_users, each }: NonNullable<Planner['guardrails']>) {
  const sentences = each.flatMap(({ name, margin, is_in_reach, total_users: needed, smallest_margin, reason }) => {
    if (reason !== null) return [`${name} cannot be planned: ${reason}`]
    if (is_in_reach) return []
    const shown = (size: number) => (margin.type === 'relative' ? percentOf(size) : `${Number(size.toPrecision(6))}`)
    const users = needed === null ? 'more users than can be planned' : `about ${needed} users`
    const margins = smallest_margin === null ? '' : `, or a margin of ${shown(Number(smallest_margin.toPrecision(2)))}`
    return [`${name} is out of reach: its margin of ${shown(margin.size)} needs ${users}${margins}`]
  })
  const isMet = power !== null && power >= POWER
  if (power !== null && !isMet && total_users !== null)
    sentences.push(`${percentOf(POWER)} need about ${total_users} users`)
  const passed =
    power === null
      ? 'The guardrails have no figures'
      : `With ${at_users} users, ${percentOf(Math.round(power * 100) / 100)} of the treatments that do no harm pass all guardrails`
  return { item: 'guardrails', is_met: isMet, message: [passed, ...sentences].join('; ') }
}
