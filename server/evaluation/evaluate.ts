import { fractionsFault, pickByPosition } from './allocation.ts'
import type { ExperimentDefinition, StoredVariant, Subject, VariantDefinition } from './definition.ts'
import { inRanges } from './layer.ts'
import { drawText, layerText, position, trafficText } from './position.ts'
import { isInSegment, meetsCondition } from './targeting.ts'

export type LeftOut =
  | 'archived'
  | 'completed'
  | 'paused'
  | 'draft'
  | 'variant disabled'
  | 'no longer targeted'
  | 'in another experiment of the layer'
  | 'outside the layer share'
  | 'held out'
  | 'prerequisite not met'
  | 'not targeted'
  | 'outside the traffic'
  | 'outside the allocation'

/**
 * `overridden`, `shipped` and `stored` were settled before. `preview` comes from a draft and is not stored. `drawn`
 * must be stored before it is answered.
 */
export type Decision =
  | {
      readonly outcome: 'overridden' | 'shipped' | 'stored' | 'preview' | 'drawn'
      readonly variant: VariantDefinition
    }
  | { readonly outcome: 'left out'; readonly reason: LeftOut }

const leftOut = (reason: LeftOut): Decision => ({ outcome: 'left out', reason })

type Startable = Pick<VariantDefinition, 'percentAllocated' | 'enabled'>

/** Shares that are fractions of 1 would leave out 99 % of the users, so nothing starts an experiment with them. */
const hasFractions = (variants: readonly Startable[]) =>
  fractionsFault(variants.map(({ percentAllocated }) => percentAllocated)) !== null

/** An experiment can start with two enabled variants that have a share. */
export const canStart = (variants: readonly Startable[]): boolean =>
  variants.filter((variant) => variant.enabled && variant.percentAllocated > 0).length >= 2 && !hasFractions(variants)

/** True for a draft that a check of the experiment starts. */
export const startsOnCheck = (experiment: ExperimentDefinition): boolean =>
  experiment.status === 'draft' && experiment.autoStart && canStart(experiment.variants)

/** An event that names a variant can start a draft with two variants, even if they have no share yet. */
export const canStartByEvent = (variants: readonly Startable[]): boolean =>
  variants.length >= 2 && !hasFractions(variants)

/** True for a draft that an event starts if the event names one of its variants. */
export const startsOnEvent = (experiment: ExperimentDefinition): boolean =>
  experiment.status === 'draft' && experiment.autoStart && canStartByEvent(experiment.variants)

const variantOf = (experiment: ExperimentDefinition, variantId: number | null) => {
  for (const variant of experiment.variants) if (variant.id === variantId) return variant
  return undefined
}

/**
 * Decides as far as possible without the user's profile: from the experiment and the stored decision alone.
 * @param userId the id of the call: an override applies to one id
 * @param stored the user's decision in the current run, if there is one
 * @returns null if the user must be drawn
 */
export function decideSettled(
  experiment: ExperimentDefinition,
  userId: string,
  stored: StoredVariant | undefined,
): Decision | null {
  if (experiment.status === 'archived') return leftOut('archived')
  const forced = overrideOf(experiment, userId)
  if (forced) return { outcome: 'overridden', variant: forced }
  if (experiment.status === 'completed') {
    const shipped = variantOf(experiment, experiment.shippedVariantId)
    return shipped ? { outcome: 'shipped', variant: shipped } : leftOut('completed')
  }
  if (stored !== undefined) {
    const variant = variantOf(experiment, stored.variantId)
    return variant?.enabled ? { outcome: 'stored', variant } : leftOut('variant disabled')
  }
  if (experiment.status === 'paused') return leftOut('paused')
  if (experiment.status === 'draft' && !experiment.autoStart) return leftOut('draft')
  return null
}

/**
 * The answer that an experiment gives to every user, if it gives everyone the same. Overrides are not considered.
 * @returns null if nobody gets a variant, undefined if the answer depends on the user
 */
export function settledForAll(experiment: ExperimentDefinition): VariantDefinition | null | undefined {
  const { status, shippedVariantId } = experiment
  if (status === 'running' || status === 'paused') return undefined
  return (status === 'completed' && variantOf(experiment, shippedVariantId)) || null
}

/** The variant that an override forces on this user; undefined without an override. */
export function overrideOf(experiment: ExperimentDefinition, userId: string): VariantDefinition | undefined {
  if (experiment.overrides.size === 0) return undefined
  const variantId = experiment.overrides.get(userId)
  return variantId === undefined ? undefined : variantOf(experiment, variantId)
}

/** True if an assigned user gets no variant because the experiment leaves out users who do not match its targeting. */
export const isLeftOut = (experiment: ExperimentDefinition, subject: Subject): boolean =>
  experiment.leavesOut && (!meetsCondition(experiment, subject) || !isInSegment(experiment, subject))

/** The checks that a user must pass before the position decides, in this order. */
export const CHECKS: readonly {
  readonly name: 'layer' | 'holdout' | 'prerequisites' | 'condition' | 'segments' | 'traffic'
  /** @returns why the user is left out, or null */
  readonly fails: (experiment: ExperimentDefinition, subject: Subject) => LeftOut | null
}[] = [
  { name: 'layer', fails: missesLayer },
  { name: 'holdout', fails: (experiment, subject) => (isHeldOut(experiment, subject) ? 'held out' : null) },
  {
    name: 'prerequisites',
    fails: (experiment, subject) =>
      experiment.prerequisites.every((prerequisite) => meetsPrerequisite(prerequisite, subject))
        ? null
        : 'prerequisite not met',
  },
  {
    name: 'condition',
    fails: (experiment, subject) => (meetsCondition(experiment, subject) ? null : 'not targeted'),
  },
  { name: 'segments', fails: (experiment, subject) => (isInSegment(experiment, subject) ? null : 'not targeted') },
  {
    name: 'traffic',
    fails: (experiment, subject) =>
      experiment.trafficPercent < 100 && trafficPosition(experiment, subject) >= experiment.trafficPercent
        ? 'outside the traffic'
        : null,
  },
]

/** Draws a user who has no settled decision: layer, holdout, prerequisites, targeting, traffic, then the position. */
export function draw(experiment: ExperimentDefinition, subject: Subject): Decision {
  for (const check of CHECKS) {
    const reason = check.fails(experiment, subject)
    if (reason !== null) return leftOut(reason)
  }
  const variant = pickByPosition(experiment.variants, drawPosition(experiment, subject))
  if (!variant) return leftOut('outside the allocation')
  if (!variant.enabled) return leftOut('variant disabled')
  return { outcome: experiment.run && experiment.status !== 'draft' ? 'drawn' : 'preview', variant }
}

export const drawPosition = ({ id, run }: ExperimentDefinition, { userId }: Subject) =>
  position(drawText(userId, id, run?.number ?? 1, run?.period ?? 1))
export const trafficPosition = ({ id }: ExperimentDefinition, { userId }: Subject) => position(trafficText(userId, id))
export const layerPosition = (layerId: number, { userId }: Pick<Subject, 'userId'>) =>
  position(layerText(userId, layerId))

function missesLayer({ layer }: ExperimentDefinition, subject: Subject): LeftOut | null {
  if (layer === null) return null
  if (layer.otherRunIds.some((runId) => subject.runs.has(runId))) return 'in another experiment of the layer'
  return inRanges(layer.ranges, layerPosition(layer.id, subject)) ? null : 'outside the layer share'
}

/**
 * True if the experiment's holdout keeps the user out, by the stored decision or else by the decision it would make
 * now.
 */
function isHeldOut({ holdout }: ExperimentDefinition, subject: Subject): boolean {
  if (holdout === null || (holdout.status !== 'running' && holdout.status !== 'draft')) return false
  const stored = holdout.run ? subject.runs.get(holdout.run.id) : undefined
  const decision = decideSettled(holdout, subject.askedId, stored) ?? draw(holdout, subject)
  return decision.outcome !== 'left out' && decision.variant.isControl
}

export const meetsPrerequisite = (
  { runId, variantIds }: ExperimentDefinition['prerequisites'][number],
  subject: Subject,
): boolean => {
  const stored = runId === null ? undefined : subject.runs.get(runId)
  return stored !== undefined && variantIds.has(stored.variantId)
}
