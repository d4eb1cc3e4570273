import type { EntityManager } from '@mikro-orm/sql'
import { checkNames, compileGiven, expectMeaning, unknownSegment } from '../definitions/rules.ts'
import type { Snapshot } from '../definitions/snapshot.ts'
import type { Watch } from '../definitions/watch.ts'
import { invalid, notFound } from '../errors.ts'
import type { Condition } from '../evaluation/condition.ts'
import { inSegmentOf } from '../evaluation/targeting.ts'
import { createPause, drawSample } from '../users/profile-sample.ts'
import { countMembers } from './queries.ts'
import type { PreviewSegment, SegmentPreview } from './schema.ts'

/** The most profiles that one preview reads, unless the caller gives a number. */
const SAMPLE = 20_000

/**
 * Counts the users whom rules select, or whom a segment has by its rules and by hand. The stored profiles are evaluated
 * as a decision would evaluate them. If there are more profiles than the sample size, a random sample is drawn and its
 * counts are scaled up.
 * @throws DomainError NOT_FOUND if the segment is missing, BAD_REQUEST for bad rules
 */
export async function previewSegment(em: EntityManager, watch: Watch, input: PreviewSegment): Promise<SegmentPreview> {
  const segmentId = input.segment_id ?? null
  const { segments } = await watch.refresh()
  const condition = conditionOf(input, segments)
  const by_hand = segmentId === null ? 0 : await countMembers(em, segmentId)
  const { profiles, sampled, estimated, scaled, read } = await drawSample(em, input.sample ?? SAMPLE)
  const at = Date.now()
  let byRules = 0
  let byRulesOnly = 0
  const pauseIfDue = createPause()
  for await (const chunk of read())
    for (const profile of chunk) {
      await pauseIfDue()
      if (!condition.holds(profile.attributes, inSegmentOf({ groups: segments }, { ...profile, at }), at)) continue
      byRules++
      if (segmentId === null || !profile.segmentIds.has(segmentId)) byRulesOnly++
    }
  return {
    profiles,
    sampled: sampled(),
    by_rules: scaled(byRules),
    by_hand,
    users: by_hand + scaled(byRulesOnly),
    estimated,
  }
}

function conditionOf({ rules, segment_id }: PreviewSegment, segments: Snapshot['segments']): Condition {
  if (segment_id !== undefined) {
    const condition = segments.get(segment_id)
    if (!condition) throw notFound('Segment', segment_id)
    if (rules !== undefined) throw invalid('cannot be combined with segment_id: give one of the two', 'rules')
    return condition
  }
  if (rules === undefined) throw invalid('is missing: give rules or segment_id', 'rules')
  const condition = compileGiven(rules, 'rules')
  expectMeaning(rules, null, 'rules')
  checkNames(condition, ['rules'], (named) => (segments.has(named) ? null : unknownSegment(named)))
  return condition
}
