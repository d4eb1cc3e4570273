import { z } from 'zod'
import { keyedProcedure, router, translated } from '../trpc.ts'
import { followResults } from './follow.ts'
import { exportFrozen, freezeResults } from './freeze.ts'
import * as questionWire from './question-schema.ts'
import { getReport, REPORT_FORMATS } from './report.ts'
import * as wire from './schema.ts'
import { getSeries } from './series.ts'
import * as seriesWire from './series-schema.ts'
import * as results from './service.ts'

const read = keyedProcedure('read')
const manage = keyedProcedure('manage')

export const resultsRouter = router({
  get: read
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/{experiment_id}/results',
        tags: ['Results'],
        summary: 'Answer a question about results: figures, tests, warnings and a decision',
      },
      getTwin: true,
      formats: REPORT_FORMATS,
    })
    .input(questionWire.getResults)
    .output(wire.results)
    .query(({ ctx, input }) => results.getResults(ctx.em, ctx.platform.reporting, input)),
  // REST answers reports by `formats` above.
  report: read
    .input(questionWire.getReport)
    .output(z.string())
    .query(({ ctx, input }) => getReport(ctx.em, ctx.platform.reporting, input)),
  series: read
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/{experiment_id}/results/series',
        tags: ['Results'],
        summary: 'Read one metric at the end of each day, and by days since exposure',
      },
      getTwin: true,
    })
    .input(seriesWire.getSeries)
    .output(seriesWire.resultsSeries)
    .query(({ ctx, input }) => getSeries(ctx.em, ctx.platform.reporting, input)),
  follow: read.input(questionWire.getResults).subscription(async function* ({ ctx, input, signal }) {
    const { reporting, following } = ctx.platform
    yield* translated(followResults(reporting, following, ctx.token, input, signal))
  }),
  freeze: manage
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/{experiment_id}/freeze',
        tags: ['Results'],
        summary: 'Freeze the results of a completed run now, without waiting for late events',
      },
    })
    .input(questionWire.freezeResults)
    .output(wire.results)
    .mutation(({ ctx, input }) => freezeResults(ctx.platform.orm, ctx.platform.reporting, input)),
  frozen: read
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/{experiment_id}/results/frozen',
        tags: ['Results'],
        summary: 'Export a frozen answer with its statistics, for npm run verify:result',
      },
      getTwin: true,
    })
    .input(questionWire.getResults)
    .output(wire.frozenResults)
    .query(({ ctx, input }) => exportFrozen(ctx.em, input)),
})
