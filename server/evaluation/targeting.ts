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
}

export const meetsCondition = (targeting: Targeting, targeted: Targeted): boolean =>
  targeting.condition.holds(targeted.attributes, inSegmentOf(targeting, targeted))

/** Without segments everyone is; otherwise any one suffices, by hand-made membership or by rules. */
export function isInSegment(targeting: Targeting, targeted: Targeted): boolean {
  if (targeting.segments.length === 0) return true
  const inSegment = inSegmentOf(targeting, targeted)
  for (const segment of targeting.segments)
    if (targeted.segmentIds.has(segment.id) || segment.condition.holds(targeted.attributes, inSegment)) return true
  return false
}

const neverAsked: InSegment = () => false

/** Membership in the segments that rules name, by hand or by their own rules; each is asked once. */
export function inSegmentOf({ groups }: Pick<Targeting, 'groups'>, { attributes, segmentIds }: Targeted): InSegment {
  if (groups.size === 0) return neverAsked
  const known = new Map<number, boolean>()
  const inSegment: InSegment = (id) => {
    let isIn = known.get(id)
    if (isIn === undefined) {
      isIn = segmentIds.has(id) || (groups.get(id)?.holds(attributes, inSegment) ?? false)
      known.set(id, isIn)
    }
    return isIn
  }
  return inSegment
}
