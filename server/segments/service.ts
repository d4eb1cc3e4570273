import { isDeepStrictEqual } from 'node:util'
import { type EntityManager, LockMode } from '@mikro-orm/sql'
import { lockDefinitions, recordChange } from '../definitions/experiment-changes.ts'
import { findFlagsBehind, recordFlags } from '../definitions/flag-queries.ts'
import { lockRules } from '../definitions/queries.ts'
import { compileRule } from '../definitions/rules.ts'
import { conflict, notFound } from '../errors.ts'
import { User } from '../users/entity.ts'
import { DEFAULT_LIMIT, setGiven } from '../wire.ts'
import { Segment, UserSegment } from './entity.ts'
import { addTarget, findExperimentsBehind, findUses, removeTarget, removeTargets } from './queries.ts'
import type { CreateSegment, SegmentLink, SegmentUses, SegmentWithMembers, UpdateSegment } from './schema.ts'

const MAX_MEMBERS = 1000

export async function createSegment(em: EntityManager, input: CreateSegment): Promise<Segment> {
  const rules = input.rules ?? null
  const segment = em.create(Segment, {
    name: input.name,
    description: input.description ?? null,
    rules,
    rules_segment_ids: await compileRule(em, rules, ['rules'], 'new'),
  })
  await em.flush()
  return segment
}

export function listSegments(em: EntityManager, input: { limit?: number; after?: number }): Promise<Segment[]> {
  return em.find(
    Segment,
    { id: { $gt: input.after ?? 0 } },
    { orderBy: { id: 'asc' }, limit: input.limit ?? DEFAULT_LIMIT },
  )
}

/** The segment, locked until the transaction ends: always before the experiments that it targets. */
async function lockSegment(em: EntityManager, segmentId: number): Promise<Segment> {
  const segment = await em.findOne(Segment, segmentId, { lockMode: LockMode.PESSIMISTIC_WRITE, refresh: true })
  if (!segment) throw notFound('Segment', segmentId)
  return segment
}

export async function findSegment(em: EntityManager, segmentId: number): Promise<Segment> {
  const segment = await em.findOne(Segment, segmentId)
  if (!segment) throw notFound('Segment', segmentId)
  return segment
}

/** A segment with its hand-made members, the first 1000 by id. */
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

/** Lists the direct uses of a segment. */
export async function usesOfSegment(em: EntityManager, segmentId: number): Promise<SegmentUses> {
  await findSegment(em, segmentId)
  return findUses(em, segmentId)
}

/** New rules open an allocation period in every run that they decide in, also through segments that name this one. */
export async function updateSegment(em: EntityManager, input: UpdateSegment): Promise<Segment> {
  if (input.rules !== undefined) await lockRules(em)
  const segment = await lockSegment(em, input.segment_id)
  setGiven(segment, input, 'name', 'description')
  if (input.rules !== undefined) await changeRules(em, segment, input.rules)
  await em.flush()
  return segment
}

async function changeRules(em: EntityManager, segment: Segment, rules: Segment['rules']) {
  const segmentIds = await compileRule(em, rules, ['rules'], segment.id)
  if (isDeepStrictEqual(rules, segment.rules)) return
  const experimentIds = await findExperimentsBehind(em, segment.id)
  await lockDefinitions(em, experimentIds)
  segment.rules = rules
  segment.rules_segment_ids = segmentIds
  await em.flush()
  await recordChange(em, experimentIds, true)
  await recordFlags(em, await findFlagsBehind(em, segment.id))
}

/** Only a segment that nothing in use uses; archived experiments let go of it, and the history keeps what was. */
export async function deleteSegment(em: EntityManager, segmentId: number) {
  await lockRules(em)
  const segment = await lockSegment(em, segmentId)
  const { experiments, segments, flags } = await findUses(em, segmentId)
  const inUse = experiments.filter(({ status }) => status !== 'archived')
  const users = [
    ...inUse.map(nameOf('experiment')),
    ...segments.map(nameOf('segment')),
    ...flags.map((key) => `flag ${key}`),
  ]
  if (users.length > 0) throw conflict(`Segment ${segmentId} is used by ${listed(users)}`)
  await removeTargets(em, segmentId)
  await em.remove(segment).flush()
  return { message: 'Segment deleted successfully' }
}

const nameOf =
  (kind: string) =>
  ({ id, name }: { id: number; name: string }) =>
    `${kind} ${id} (${name})`

const MOST_LISTED = 20

function listed(users: readonly string[]): string {
  const shown = users.slice(0, MOST_LISTED).join(', ')
  return users.length > MOST_LISTED ? `${shown} and ${users.length - MOST_LISTED} more` : shown
}

/** Locks what targeting an experiment at a segment, or no longer, changes. */
async function lockTarget(em: EntityManager, { experiment_id, segment_id }: SegmentLink) {
  await lockRules(em)
  await lockSegment(em, segment_id)
  const experiment = (await lockDefinitions(em, [experiment_id])).get(experiment_id)
  if (experiment?.status === 'archived')
    throw conflict(`Experiment ${experiment_id} is archived: its targeting stays as it is`)
}

/** Targets an experiment at a segment; once more changes nothing. */
export async function assignExperiment(em: EntityManager, input: SegmentLink) {
  await lockTarget(em, input)
  if (await addTarget(em, input)) await recordChange(em, [input.experiment_id], true)
  return { message: 'Segment assigned to experiment successfully' }
}

export async function unassignExperiment(em: EntityManager, input: SegmentLink) {
  await lockTarget(em, input)
  if (!(await removeTarget(em, input)))
    throw notFound('The assignment of segment', `${input.segment_id} to experiment ${input.experiment_id}`)
  await recordChange(em, [input.experiment_id], true)
  return { message: 'Segment removed from experiment successfully' }
}
