import type { Condition, InSegment } from './condition.ts'

/** Whom an experiment, or a rule of a flag, is for. */
export type Targeting = {
  readonly condition: Condition
  /** Any one suffices; none: everybody. */
  readonly segments: readonly { readonly id: number; readonly condition: Condition }[]
  /** Segments that rules name, by id. */
  readonly groups: ReadonlyMap<number, Condition>
}

/** What targeting looks at. */
export type Targeted = {
  /** The profile merged with the call's attributes. */
  readonly attributes: Readonly<Record<string, unknown>>
  /** Hand-made memberships. */
  readonly segmentIds: ReadonlySet<number>
  /** Whether they are in segments, as far as that was asked already: of one state of the definitions. */
  readonly inSegments?: Map<number, boolean>
}

export const meetsCondition = (targeting: Targeting, targeted: Targeted): boolean =>
  targeting.condition.holds(targeted.attributes, inSegmentOf(targeting, targeted))

/** Without segments everyone is; otherwise any one suffices, by hand-made membership or by rules. */
export function isInSegment(targeting: Targeting, targeted: Targeted): boolean {
  if (targeting.segments.length === 0) return true
  const inSegment = inSegmentOf(targeting, targeted)
  for (const { id, condition } of targeting.segments) if (isMember(id, condition, targeted, inSegment)) return true
  return false
}

/** By hand or by the rules; these are asked once, where the answers are kept. */
function isMember(id: number, condition: Condition, targeted: Targeted, inSegment: InSegment): boolean {
  const { attributes, segmentIds, inSegments } = targeted
  const known = inSegments?.get(id)
  if (known !== undefined) return known
  const isIn = segmentIds.has(id) || condition.holds(attributes, inSegment)
  inSegments?.set(id, isIn)
  return isIn
}

const neverAsked: InSegment = () => false

/** Membership in the segments that rules name, by hand or by their own rules; each is asked once. */
export function inSegmentOf({ groups }: Pick<Targeting, 'groups'>, targeted: Targeted): InSegment {
  if (groups.size === 0) return neverAsked
  const remembering = targeted.inSegments ? targeted : { ...targeted, inSegments: new Map<number, boolean>() }
  const inSegment: InSegment = (id) => {
    const condition = groups.get(id)
    return condition ? isMember(id, condition, remembering, inSegment) : targeted.segmentIds.has(id)
  }
  return inSegment
}
