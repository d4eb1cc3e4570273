import { z } from 'zod'
import { keyedProcedure, router } from '../trpc.ts'
import { message } from '../wire.ts'
import * as wire from './schema.ts'
import * as metrics from './service.ts'

const tags = ['Metrics']
const manage = keyedProcedure('manage')
const read = keyedProcedure('read')

export const metricsRouter = router({
  create: manage
    .meta({ openapi: { method: 'POST', path: '/metrics', tags, summary: 'Define a metric' } })
    .input(wire.createMetric)
    .output(wire.metric)
    .mutation(({ ctx, input }) => ctx.audited((em) => metrics.createMetric(em, input))),
  list: read
    .meta({ openapi: { method: 'GET', path: '/metrics', tags, summary: 'List metrics' }, list: true })
    .input(wire.listMetrics)
    .output(z.array(wire.metric))
    .query(({ ctx, input }) => metrics.listMetrics(ctx.em, input)),
  get: read
    .meta({ openapi: { method: 'GET', path: '/metrics/{metric_id}', tags, summary: 'Read a metric' } })
    .input(wire.metricId)
    .output(wire.metric)
    .query(({ ctx, input }) => metrics.getMetric(ctx.em, input.metric_id)),
  versions: read
    .meta({
      openapi: {
        method: 'GET',
        path: '/metrics/{metric_id}/versions',
        tags,
        summary: 'List the versions of a metric',
      },
    })
    .input(wire.metricId)
    .output(z.array(wire.metricVersion))
    .query(({ ctx, input }) => metrics.listVersions(ctx.em, input.metric_id)),
  update: manage
    .meta({
      openapi: { method: 'PUT', path: '/metrics/{metric_id}', tags, summary: 'Change a metric that is not in use' },
    })
    .input(wire.updateMetric)
    .output(wire.metric)
    .mutation(({ ctx, input }) => ctx.audited((em) => metrics.updateMetric(em, input))),
  delete: manage
    .meta({
      openapi: {
        method: 'DELETE',
        path: '/metrics/{metric_id}',
        tags,
        summary: 'Delete a metric that is attached to no experiment',
      },
    })
    .input(wire.metricId)
    .output(message)
    .mutation(({ ctx, input }) => ctx.audited((em) => metrics.deleteMetric(em, input.metric_id))),
  ofExperiment: read
    .meta({
      openapi: {
        method: 'GET',
        path: '/experiments/{experiment_id}/metrics',
        tags,
        summary: 'List the metrics of an experiment',
      },
    })
    .input(wire.experimentMetrics)
    .output(z.array(wire.attachedMetric))
    .query(({ ctx, input }) => metrics.listAttached(ctx.em, input.experiment_id)),
  setOfExperiment: manage
    .meta({
      openapi: {
        method: 'PUT',
        path: '/experiments/{experiment_id}/metrics',
        tags,
        summary: 'Set the metrics of an experiment',
      },
    })
    .input(wire.setMetrics)
    .output(z.array(wire.attachedMetric))
    .mutation(({ ctx, input }) => ctx.audited((em) => metrics.setMetrics(em, input))),
})
