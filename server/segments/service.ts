import { isDeepStrictEqual } from 'node:util'
import { type EntityManager, LockMode } from '@mikro-orm/sql'
import { deriveKey, expectUsableKey } from '../definitions/derived-key.ts'
import { lockDefinitions, recordChange } from '../definitions/experiment-changes.ts'
import { findFlagsBehind, recordFlags } from '../definitions/flag-queries.ts'
import { namedLike, readPage } from '../definitions/listing.ts'
import { lockKeys, lockRules } from '../definitions/queries.ts'
import { compileRule, expectMeaning } from '../definitions/rules.ts'
import { conflict, inArchive, notFound } from '../errors.ts'
import { EDITION } from '../evaluation/condition.ts'
import { expectUnchanged, setGiven } from '../fields.ts'
import { User } from '../users/entity.ts'
import type { NamedPage } from '../wire.ts'
import { Segment, UserSegment } from './entity.ts'
import { addTarget, findExperimentsBehind, findUses, removeTarget, removeTargets } from './queries.ts'
import type { CreateSegment, SegmentLink, SegmentUses, SegmentWithMembers, UpdateSegment } from './schema.ts'
import * as wire from './schema.ts'

/** The most members that `getSegment` reads. */
const MAX_MEMBERS = 1000

/** Creates a segment. @throws DomainError BAD_REQUEST with the path of a fault in the rules */
export async function createSegment(em: EntityManager, input: CreateSegment): Promise<Segment> {
  const rules = input.rules ?? null
  if (input.key !== undefined) expectUsableKey(input.key)
  const rules_segment_ids = await compileRule(em, rules, ['rules'], 'new')
  expectMeaning(rules, null, 'rules')
  await lockKeys(em)
  const segment = em.create(Segment, {
    name: input.name,
    key: input.key ?? (await deriveKey(em, 'segments', 'segment', input.name)),
    description: input.description ?? null,
    rules,
    rules_segment_ids,
    rules_edition: EDITION,
  })
  await em.flush()
  return segment
}

/** Lists the segments that meet all filters. */
export const listSegments = (em: EntityManager, input: NamedPage): Promise<Segment[]> =>
  readPage(em, Segment, namedLike(input), input)

/**
 * Locks a segment until the transaction ends, and reads it. Lock a segment before the experiments that target it.
 * @throws DomainError NOT_FOUND
 */
async function lockSegment(em: EntityManager, segmentId: number): Promise<Segment> {
  const segment = await em.findOne(Segment, segmentId, { lockMode: LockMode.PESSIMISTIC_WRITE, refresh: true })
  if (!segment) throw notFound('Segment', segmentId)
  return segment
}

/** Reads a segment. @throws DomainError NOT_FOUND */
export async function findSegment(em: EntityManager, segmentId: number): Promise<Segment> {
  const segment = await em.findOne(Segment, segmentId)
  if (!segment) throw notFound('Segment', segmentId)
  return segment
}

/** Reads a segment with its first 1000 hand-made members by id. @throws DomainError NOT_FOUND */
export async function getSegment(em: EntityManager, segmentId: number): Promise<SegmentWithMembers> {
  const segment = await findSegment(em, segmentId)
  const memberships = await em.find(
    UserSegment,
    { segment_id: segmentId },
    { orderBy: { user_id: 'asc' }, limit: MAX_MEMBERS },
  )
  const ids = memberships.map((membership) => membership.user_id)
  const profiles = new Map((await em.find(User, { id: { $in: ids } })).map((user) => [user.id, user]))
  const users = ids.map((id) => profiles.get(id) ?? { ...noProfile, id })
  return { ...segment, users }
}

const noProfile = {
  first_name: null,
  last_name: null,
  email: null,
  is_premium: null,
  country_code: null,
  created_at: null,
}

/** Lists the direct uses of a segment; see `findUses`. @throws DomainError NOT_FOUND */
export async function usesOfSegment(em: EntityManager, segmentId: number): Promise<SegmentUses> {
  await findSegment(em, segmentId)
  return findUses(em, segmentId)
}

/**
 * Changes the given fields of a segment. New rules open an allocation period in every unfinished run whose targeting
 * reads the segment, directly or through segments that name it.
 * @throws DomainError BAD_REQUEST with the path of a fault in the rules
 */
export async function updateSegment(em: EntityManager, input: UpdateSegment): Promise<Segment> {
  if (input.rules !== undefined) await lockRules(em)
  const segment = await lockSegment(em, input.segment_id)
  const schemas = { update: wire.updateSegment, answer: wire.segmentWithMembers }
  await expectUnchanged(schemas, input, () => getSegment(em, segment.id))
  if (input.key !== undefined && input.key !== segment.key) expectUsableKey(input.key)
  setGiven(segment, input, 'name', 'key', 'description')
  if (input.rules !== undefined) await changeRules(em, segment, input.rules)
  await em.flush()
  return segment
}

async function changeRules(em: EntityManager, segment: Segment, rules: Segment['rules']) {
  const segmentIds = await compileRule(em, rules, ['rules'], segment.id)
  if (isDeepStrictEqual(rules, segment.rules)) return
  expectMeaning(rules, segment.rules, 'rules')
  const experimentIds = await findExperimentsBehind(em, segment.id)
  await lockDefinitions(em, experimentIds)
  segment.rules = rules
  segment.rules_segment_ids = segmentIds
  segment.rules_edition = EDITION
  await em.flush()
  await recordChange(em, experimentIds, true)
  await recordFlags(em, await findFlagsBehind(em, segment.id))
}

/**
 * Deletes a segment. Archived experiments lose their link to the segment; the definition history keeps the link.
 * @throws DomainError CONFLICT with the segments, flags and experiments that use the segment
 */
export async function deleteSegment(em: EntityManager, segmentId: number) {
  await lockRules(em)
  const segment = await lockSegment(em, segmentId)
  const { experiments, segments, flags } = await findUses(em, segmentId)
  const inUse = experiments.filter(({ status }) => status !== 'archived')
  const uses = [
    ...inUse.map(nameOf('experiment')),
    ...segments.map(nameOf('segment')),
    ...flags.map((key) => `flag ${key}`),
  ]
  if (uses.length > 0) throw conflict(`Segment ${segmentId} is used by ${joinSome(uses)}: end these uses first`)
  await removeTargets(em, segmentId)
  await em.remove(segment).flush()
  return { message: 'Segment deleted successfully' }
}

const nameOf =
  (kind: string) =>
  ({ id, name }: { id: number; name: string }) =>
    `${kind} ${id} (${name})`

const MOST_LISTED = 20

/** Joins the first uses, and counts the others. */
function joinSome(uses: readonly string[]): string {
  const shown = uses.slice(0, MOST_LISTED).join(', ')
  return uses.length > MOST_LISTED ? `${shown} and ${uses.length - MOST_LISTED} more` : shown
}

/**
 * Locks the segment and the experiment before the link between them changes.
 * @throws DomainError CONFLICT if the experiment is archived, NOT_FOUND if either is missing
 */
async function lockTarget(em: EntityManager, { experiment_id, segment_id }: SegmentLink) {
  await lockRules(em)
  await lockSegment(em, segment_id)
  const experiment = (await lockDefinitions(em, [experiment_id])).get(experiment_id)
  if (experiment?.status === 'archived') throw inArchive(experiment_id)
}

/** Targets an experiment at a segment. Repeating the call changes nothing. */
export async function assignExperiment(em: EntityManager, input: SegmentLink) {
  await lockTarget(em, input)
  if (await addTarget(em, input)) await recordChange(em, [input.experiment_id], true)
  return { message: 'Segment assigned to experiment successfully' }
}

/** Ends the targeting of an experiment at a segment. @throws DomainError NOT_FOUND if there is no such targeting */
export async function unassignExperiment(em: EntityManager, input: SegmentLink) {
  await lockTarget(em, input)
  if (!(await removeTarget(em, input)))
    throw notFound('The assignment of segment', `${input.segment_id} to experiment ${input.experiment_id}`)
  await recordChange(em, [input.experiment_id], true)
  return { message: 'Segment removed from experiment successfully' }
}
