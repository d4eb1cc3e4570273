import { isDeepStrictEqual } from 'node:util'
import { type EntityManager, LockMode } from '@mikro-orm/sql'
import { conflict, notFound } from '../errors.ts'
import { ExperimentSegment } from '../experiments/entity.ts'
import { experimentChanged, lockExperiment } from '../experiments/life-cycle.ts'
import { User } from '../users/entity.ts'
import type { People } from '../users/people.ts'
import { DEFAULT_LIMIT } from '../wire.ts'
import { Segment, UserSegment } from './entity.ts'
import type { AssignUser, CreateSegment, SegmentLink, SegmentWithMembers, UpdateSegment } from './schema.ts'

const MAX_MEMBERS = 1000

export async function createSegment(em: EntityManager, input: CreateSegment): Promise<Segment> {
  const segment = em.create(Segment, {
    name: input.name,
    description: input.description ?? null,
    rules: input.rules ?? null,
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

async function findSegment(em: EntityManager, segmentId: number): Promise<Segment> {
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

/** The ids of the experiments that use a segment, locked in ascending order. */
async function lockUsers(em: EntityManager, segmentId: number) {
  const links = await em.find(ExperimentSegment, { segment_id: segmentId }, { orderBy: { experiment_id: 'asc' } })
  const experiments = []
  for (const link of links) experiments.push(await lockExperiment(em, link.experiment_id))
  return experiments
}

/** New rules open an allocation period in every run that the segment targets. */
export async function updateSegment(em: EntityManager, input: UpdateSegment): Promise<Segment> {
  const segment = await lockSegment(em, input.segment_id)
  const experiments = await lockUsers(em, input.segment_id)
  const targeting = input.rules !== undefined && !isDeepStrictEqual(input.rules, segment.rules)
  segment.name = input.name ?? segment.name
  if (input.description !== undefined) segment.description = input.description
  if (targeting) segment.rules = input.rules ?? null
  await em.flush()
  if (targeting) for (const experiment of experiments) await experimentChanged(em, experiment, { targeting })
  return segment
}

/** Only a segment that no experiment uses. */
export async function deleteSegment(em: EntityManager, segmentId: number) {
  const segment = await lockSegment(em, segmentId)
  const users = await em.find(ExperimentSegment, { segment_id: segmentId }, { orderBy: { experiment_id: 'asc' } })
  if (users.length > 0)
    throw conflict(`Segment ${segmentId} is used by experiment ${users.map((link) => link.experiment_id).join(', ')}`)
  await em.remove(segment).flush()
  return { message: 'Segment deleted successfully' }
}

/** Makes a user a member by hand; once more changes nothing. */
export async function assignUser(em: EntityManager, people: People, input: AssignUser) {
  await findSegment(em, input.segment_id)
  if (!input.create && !(await people.read(input.user_id)).known) throw notFound('User', input.user_id)
  await em.execute('insert into user_segments (user_id, segment_id) values (?, ?) on conflict do nothing', [
    input.user_id,
    input.segment_id,
  ])
  await people.changed(input.user_id)
  return { message: 'User assigned to segment successfully' }
}

async function lockTarget(em: EntityManager, input: SegmentLink) {
  await lockSegment(em, input.segment_id)
  const experiment = await lockExperiment(em, input.experiment_id)
  if (experiment.status === 'completed' || experiment.status === 'archived')
    throw conflict(`Experiment ${experiment.id} is ${experiment.status}: its targeting stays as it is`)
  const link = await em.findOne(ExperimentSegment, { experiment_id: input.experiment_id, segment_id: input.segment_id })
  return { experiment, link }
}

/** Targets an experiment at a segment; once more changes nothing. */
export async function assignExperiment(em: EntityManager, input: SegmentLink) {
  const { experiment, link } = await lockTarget(em, input)
  if (!link) {
    em.create(ExperimentSegment, { experiment_id: input.experiment_id, segment_id: input.segment_id })
    await experimentChanged(em, experiment, { targeting: true })
  }
  return { message: 'Segment assigned to experiment successfully' }
}

export async function unassignExperiment(em: EntityManager, input: SegmentLink) {
  const { experiment, link } = await lockTarget(em, input)
  if (!link) throw notFound('The assignment of segment', `${input.segment_id} to experiment ${input.experiment_id}`)
  em.remove(link)
  await experimentChanged(em, experiment, { targeting: true })
  return { message: 'Segment removed from experiment successfully' }
}
