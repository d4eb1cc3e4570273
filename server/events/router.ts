import { tracked } from '@trpc/server'
import { z } from 'zod'
import { keyedProcedure, router, translated } from '../trpc.ts'
import * as reading from './reading.ts'
import * as wire from './schema.ts'
import { readSeries } from './series.ts'
import * as events from './service.ts'

const tags = ['Events']
const track = keyedProcedure('track')
const read = keyedProcedure('read')
const BATCH_BYTES = 8 * 1024 * 1024

export const eventsRouter = router({
  record: track
    .meta({ openapi: { method: 'POST', path: '/events', tags, summary: 'Record an event' } })
    .input(wire.recordEvent)
    .output(wire.event)
    .mutation(({ ctx, input }) => events.record(ctx.platform.recording, ctx.actor, input)),
  recordBatch: track
    .meta({
      openapi: {
        method: 'POST',
        path: '/events/batch',
        tags,
        summary: 'Record up to 1000 events; each has its own outcome',
      },
      bodyLimit: BATCH_BYTES,
    })
    .input(wire.recordBatch)
    .output(wire.batchResult)
    .mutation(({ ctx, input }) => events.recordBatch(ctx.platform.recording, ctx.actor, input, ctx.lenient)),
  tail: read.input(wire.tailEvents).subscription(async function* ({ ctx, input, signal }) {
    const { eventTail, keyRing } = ctx.platform
    for await (const { cursor, ...event } of translated(reading.tail({ eventTail, keyRing }, ctx.token, input, signal)))
      yield tracked(cursor, event)
  }),
  series: read
    .meta({
      openapi: {
        method: 'GET',
        path: '/experiments/{experiment_id}/series',
        tags,
        summary: 'Count the events of an experiment per hour or day, variant and type',
      },
    })
    .input(wire.readSeries)
    .output(wire.series)
    .query(({ ctx, input }) => readSeries(ctx.em, ctx.platform.reporting.timeZone, input)),
  list: read
    .meta({
      openapi: {
        method: 'POST',
        path: '/events/{experiment_id}',
        tags,
        summary: 'List the events of an experiment, filtered',
      },
      getTwin: true,
      list: true,
    })
    .input(wire.listEvents)
    .output(z.array(wire.event))
    .query(({ ctx, input }) => reading.listEvents(ctx.em, input)),
})
