import { keyedProcedure, router } from '../trpc.ts'
import * as wire from './schema.ts'
import * as results from './service.ts'

const read = keyedProcedure('read')

export const resultsRouter = router({
  get: read
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/{experiment_id}/results',
        tags: ['experiments'],
        summary: 'Conversions, intervals, significance and winner; and what to do, with why to believe it',
      },
      getTwin: true,
    })
    .input(wire.getResults)
    .output(wire.results)
    .query(({ ctx, input }) => results.getResults(ctx.em, ctx.platform, input)),
})
