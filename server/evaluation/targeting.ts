import type { Condition, InSegment } from './condition.ts'

/** The users that an experiment, or a rule of a flag, is for. */
export type Targeting = {
  readonly condition: Condition
  /** Being in one of these segments is enough. An empty list admits everybody. */
  readonly segments: readonly { readonly id: number; readonly condition: Condition }[]
  /** Segments that rules name, by id. */
  readonly groups: ReadonlyMap<number, Condition>
}

/** The properties of a user that targeting reads. */
export type Targeted = {
  /** The profile merged with the call's attributes. */
  readonly attributes: Readonly<Record<string, unknown>>
  /** Segments that the user was added to by hand. */
  readonly segmentIds: ReadonlySet<number>
  /** The time of the decision, in milliseconds since 1970. */
  readonly at: number
  /** A cache of memberships evaluated already, by segment id. It holds for one version of the definitions. */
  readonly inSegments?: Map<number, boolean>
}

/** The parts of a stored profile that targeting reads, besides the user's id. */
export type ProfileReads = {
  /** The paths of attributes, each with its first step. */
  readonly attributes: readonly { readonly path: string; readonly first: string }[]
  /** True if targeting reads hand-made memberships of segments. */
  readonly memberships: boolean
}

export function profileReadsOf(targetings: readonly Targeting[]): ProfileReads {
  const paths = targetings.flatMap(({ condition }) => condition.reads)
  return {
    attributes: [...new Set(paths)]
      .filter((path) => path !== 'id')
      .map((path) => ({ path, first: path.split('.', 1)[0] as string })),
    memberships: targetings.some(({ segments, groups }) => segments.length > 0 || groups.size > 0),
  }
}

/** True if targeting may read something that the call's attributes lack, so that the stored profile is needed. */
export function needsProfile({ attributes, memberships }: ProfileReads, given: Targeted['attributes']): boolean {
  if (memberships) return true
  for (const { path, first } of attributes) if (!Object.hasOwn(given, first) && !Object.hasOwn(given, path)) return true
  return false
}

export const meetsCondition = (targeting: Targeting, targeted: Targeted): boolean =>
  targeting.condition.holds(targeted.attributes, inSegmentOf(targeting, targeted), targeted.at)

/** True if the targeting has no segments, or if the user is in one of them, by hand or by its rules. */
export function isInSegment(targeting: Targeting, targeted: Targeted): boolean {
  if (targeting.segments.length === 0) return true
  const inSegment = inSegmentOf(targeting, targeted)
  for (const { id, condition } of targeting.segments) if (isMember(id, condition, targeted, inSegment)) return true
  return false
}

/**
 * True if the user was added to the segment by hand or matches its rules. Rules are evaluated once if there is a cache.
 */
function isMember(id: number, condition: Condition, targeted: Targeted, inSegment: InSegment): boolean {
  const { attributes, segmentIds, inSegments, at } = targeted
  const known = inSegments?.get(id)
  if (known !== undefined) return known
  const isIn = segmentIds.has(id) || condition.holds(attributes, inSegment, at)
  inSegments?.set(id, isIn)
  return isIn
}

const inNoSegment: InSegment = () => false

/** Makes the look-up of memberships in the segments that rules name. Each segment is evaluated once. */
export function inSegmentOf({ groups }: Pick<Targeting, 'groups'>, targeted: Targeted): InSegment {
  if (groups.size === 0) return inNoSegment
  const withCache = targeted.inSegments ? targeted : { ...targeted, inSegments: new Map<number, boolean>() }
  const inSegment: InSegment = (id) => {
    const condition = groups.get(id)
    return condition ? isMember(id, condition, withCache, inSegment) : targeted.segmentIds.has(id)
  }
  return inSegment
}
