import { pickByPosition } from './allocation.ts'
import type { Attributes, Condition } from './condition.ts'
import { drawText, position, trafficText } from './position.ts'

export type VariantDefinition = {
  readonly id: number
  readonly name: string
  readonly percentAllocated: number
  readonly enabled: boolean
  readonly payload: unknown
}

/** All that deciding one experiment needs, compiled. */
export type ExperimentDefinition = {
  readonly id: number
  readonly key: string
  readonly version: number
  readonly status: 'draft' | 'running' | 'paused' | 'completed' | 'archived'
  readonly autoStart: boolean
  readonly exposesOnCheck: boolean
  readonly trafficPercent: number
  readonly shippedVariantId: number | null
  /** The current run and its current period; null before the first start. */
  readonly run: {
    readonly id: number
    readonly number: number
    readonly period: number
    /** Milliseconds since 1970: the start of a first run that an event started, which an earlier event moves back. */
    readonly movableStart: number | null
  } | null
  /** In ascending id. */
  readonly variants: readonly VariantDefinition[]
  readonly segments: readonly { readonly id: number; readonly condition: Condition }[]
  /** Names of the attributes that targeting reads. */
  readonly reads: readonly string[]
}

/** Who is asking: the profile merged with the call's attributes, and hand-made memberships. */
export type Subject = {
  readonly userId: string
  readonly attributes: Attributes
  readonly segmentIds: ReadonlySet<number>
}

export type LeftOut =
  | 'archived'
  | 'completed'
  | 'paused'
  | 'draft'
  | 'variant disabled'
  | 'not targeted'
  | 'outside the traffic'
  | 'outside the allocation'

/** `stored`, `shipped`: settled already. `preview`: a draft, nothing to store. `drawn`: to be stored before it is answered. */
export type Decision =
  | { readonly outcome: 'stored' | 'shipped' | 'preview' | 'drawn'; readonly variant: VariantDefinition }
  | { readonly outcome: 'left out'; readonly reason: LeftOut }

const leftOut = (reason: LeftOut): Decision => ({ outcome: 'left out', reason })

/** Whether an experiment can start: two enabled variants with a share. */
export const canStart = (variants: readonly { percentAllocated: number; enabled: boolean }[]): boolean =>
  variants.filter((variant) => variant.enabled && variant.percentAllocated > 0).length >= 2

/** Whether a check that names the experiment starts it. */
export const startsOnCheck = (experiment: ExperimentDefinition): boolean =>
  experiment.status === 'draft' && experiment.autoStart && canStart(experiment.variants)

/**
 * The part of a decision that needs nobody's profile: what is settled by the experiment alone or by what is stored.
 * @param storedVariantId the user's variant in the current run, where one is stored
 * @returns null where the user has to be drawn
 */
export function decideSettled(experiment: ExperimentDefinition, storedVariantId: number | undefined): Decision | null {
  if (experiment.status === 'archived') return leftOut('archived')
  if (experiment.status === 'completed') {
    const shipped = experiment.variants.find((variant) => variant.id === experiment.shippedVariantId)
    return shipped ? { outcome: 'shipped', variant: shipped } : leftOut('completed')
  }
  if (storedVariantId !== undefined) {
    const stored = experiment.variants.find((variant) => variant.id === storedVariantId)
    return stored?.enabled ? { outcome: 'stored', variant: stored } : leftOut('variant disabled')
  }
  if (experiment.status === 'paused') return leftOut('paused')
  if (experiment.status === 'draft' && !experiment.autoStart) return leftOut('draft')
  return null
}

/** Draws a user for whom nothing is settled: targeting, then traffic, then the position. */
export function draw(experiment: ExperimentDefinition, subject: Subject): Decision {
  if (!isTargeted(experiment, subject)) return leftOut('not targeted')
  if (experiment.trafficPercent < 100) {
    const place = position(trafficText(subject.userId, experiment.id))
    if (place >= experiment.trafficPercent) return leftOut('outside the traffic')
  }
  const { run } = experiment
  const place = position(drawText(subject.userId, experiment.id, run?.number ?? 1, run?.period ?? 1))
  const variant = pickByPosition(experiment.variants, place)
  if (!variant) return leftOut('outside the allocation')
  if (!variant.enabled) return leftOut('variant disabled')
  return { outcome: run ? 'drawn' : 'preview', variant }
}

/** Without segments everyone is; otherwise any one suffices, by hand-made membership or by rules. */
function isTargeted(experiment: ExperimentDefinition, subject: Subject): boolean {
  if (experiment.segments.length === 0) return true
  return experiment.segments.some(
    (segment) => subject.segmentIds.has(segment.id) || segment.condition.holds(subject.attributes),
  )
}
