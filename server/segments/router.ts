import { z } from 'zod'
import { keyedProcedure, router } from '../trpc.ts'
import { message } from '../wire.ts'
import * as wire from './schema.ts'
import * as segments from './service.ts'

const tags = ['segments']
const manage = keyedProcedure('manage')
const read = keyedProcedure('read')

export const segmentsRouter = router({
  create: manage
    .meta({ openapi: { method: 'POST', path: '/segments', tags, summary: 'Create a segment' } })
    .input(wire.createSegment)
    .output(wire.segment)
    .mutation(({ ctx, input }) => ctx.define((em) => segments.createSegment(em, input))),
  list: read
    .meta({ openapi: { method: 'GET', path: '/segments', tags, summary: 'All segments' }, list: true })
    .input(wire.listSegments)
    .output(z.array(wire.segment))
    .query(({ ctx, input }) => segments.listSegments(ctx.em, input)),
  get: read
    .meta({
      openapi: {
        method: 'GET',
        path: '/segments/{segment_id}',
        tags,
        summary: 'One segment with its hand-made members',
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
        summary: 'Delete a segment that no experiment uses',
      },
    })
    .input(wire.segmentId)
    .output(message)
    .mutation(({ ctx, input }) => ctx.define((em) => segments.deleteSegment(em, input.segment_id))),
  assignUser: manage
    .meta({ openapi: { method: 'POST', path: '/segments/assign-user', tags, summary: 'Make a user a member by hand' } })
    .input(wire.assignUser)
    .output(message)
    .mutation(({ ctx, input }) => segments.assignUser(ctx.em, ctx.platform.people, input)),
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
