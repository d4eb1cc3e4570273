import { z } from 'zod'
import { keyedProcedure, router } from '../trpc.ts'
import { message } from '../wire.ts'
import * as members from './members.ts'
import { previewSegment } from './preview.ts'
import * as wire from './schema.ts'
import * as segments from './service.ts'

/** The largest body of a call that changes lists of members: 100,000 ids for each list. */
const LIST_BYTES = 32 * 1024 * 1024
const tags = ['Segments']
const manage = keyedProcedure('manage')
const read = keyedProcedure('read')

/** The parts of the platform that hand-made members concern. */
const membersOf = (platform: {
  users: Pick<members.Members, 'profiles'>
  definitions: { membersChanged: members.Members['changed'] }
}): members.Members => ({ profiles: platform.users.profiles, changed: platform.definitions.membersChanged })

export const segmentsRouter = router({
  create: manage
    .meta({ openapi: { method: 'POST', path: '/segments', tags, summary: 'Create a segment' } })
    .input(wire.createSegment)
    .output(wire.segment)
    .mutation(({ ctx, input }) => ctx.define((em) => segments.createSegment(em, input))),
  list: read
    .meta({ openapi: { method: 'GET', path: '/segments', tags, summary: 'List segments' }, list: true })
    .input(wire.listSegments)
    .output(z.array(wire.segment))
    .query(({ ctx, input }) => segments.listSegments(ctx.em, input)),
  get: read
    .meta({
      openapi: {
        method: 'GET',
        path: '/segments/{segment_id}',
        tags,
        summary: 'Get a segment with its first 1000 hand-made members',
      },
    })
    .input(wire.segmentId)
    .output(wire.segmentWithMembers)
    .query(({ ctx, input }) => segments.getSegment(ctx.em, input.segment_id)),
  update: manage
    .meta({ openapi: { method: 'PUT', path: '/segments/{segment_id}', tags, summary: 'Change a segment' } })
    .input(wire.updateSegment)
    .output(wire.segment)
    .mutation(({ ctx, input }) => ctx.define((em) => segments.updateSegment(em, input))),
  delete: manage
    .meta({
      openapi: {
        method: 'DELETE',
        path: '/segments/{segment_id}',
        tags,
        summary: 'Delete a segment that nothing uses',
      },
    })
    .input(wire.segmentId)
    .output(message)
    .mutation(({ ctx, input }) => ctx.define((em) => segments.deleteSegment(em, input.segment_id))),
  uses: read
    .meta({
      openapi: {
        method: 'GET',
        path: '/segments/{segment_id}/uses',
        tags,
        summary: 'List the experiments, segments and flags that use a segment',
      },
    })
    .input(wire.segmentId)
    .output(wire.segmentUses)
    .query(({ ctx, input }) => segments.usesOfSegment(ctx.em, input.segment_id)),
  preview: read
    .meta({
      openapi: {
        method: 'POST',
        path: '/segments/preview',
        tags,
        summary: 'Preview how many users rules or a segment select',
      },
    })
    .input(wire.previewSegment)
    .output(wire.segmentPreview)
    .query(({ ctx, input }) => previewSegment(ctx.em, ctx.platform.definitions.watch, input)),
  assignUser: manage
    .meta({ openapi: { method: 'POST', path: '/segments/assign-user', tags, summary: 'Add a hand-made member' } })
    .input(wire.assignUser)
    .output(message)
    .mutation(({ ctx, input }) => members.assignUser(ctx.em, membersOf(ctx.platform), input)),
  unassignUser: manage
    .meta({
      openapi: {
        method: 'DELETE',
        path: '/segments/unassign-user',
        tags,
        summary: 'Remove a hand-made member',
      },
    })
    .input(wire.membership)
    .output(message)
    .mutation(({ ctx, input }) => members.unassignUser(ctx.em, membersOf(ctx.platform), input)),
  changeMembers: manage
    .meta({
      openapi: {
        method: 'POST',
        path: '/segments/{segment_id}/members',
        tags,
        summary: 'Add and remove lists of hand-made members, up to 100,000 at once',
      },
      bodyLimit: LIST_BYTES,
    })
    .input(wire.changeMembers)
    .output(wire.membersChanged)
    .mutation(({ ctx, input }) => members.changeMembers(ctx.em, membersOf(ctx.platform), input)),
  listMembers: read
    .meta({
      openapi: {
        method: 'GET',
        path: '/segments/{segment_id}/members',
        tags,
        summary: 'List the hand-made members of a segment, by ascending user id',
      },
      list: true,
    })
    .input(wire.listMembers)
    .output(z.array(wire.memberId))
    .query(({ ctx, input }) => members.listMembers(ctx.em, input)),
  assignExperiment: manage
    .meta({
      openapi: {
        method: 'POST',
        path: '/segments/assign-experiment',
        tags,
        summary: 'Target an experiment at a segment',
      },
    })
    .input(wire.segmentLink)
    .output(message)
    .mutation(({ ctx, input }) => ctx.define((em) => segments.assignExperiment(em, input))),
  unassignExperiment: manage
    .meta({
      openapi: {
        method: 'DELETE',
        path: '/segments/unassign-experiment',
        tags,
        summary: 'Remove a segment from an experiment',
      },
    })
    .input(wire.segmentLink)
    .output(message)
    .mutation(({ ctx, input }) => ctx.define((em) => segments.unassignExperiment(em, input))),
})
