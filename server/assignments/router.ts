import { keyedProcedure, router } from '../trpc.ts'
import * as wire from './schema.ts'
import * as assignments from './service.ts'

const evaluate = keyedProcedure('evaluate')

export const assignmentsRouter = router({
  checkEligibility: evaluate
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/check-eligibility',
        tags: ['experiments'],
        summary: 'The variants of a user in the experiments named',
      },
    })
    .input(wire.checkEligibility)
    .output(wire.eligibility)
    .mutation(({ ctx, input }) => assignments.checkEligibility(ctx.platform, ctx.actor, input)),
  get: evaluate
    .meta({
      openapi: {
        method: 'GET',
        path: '/experiments/{experiment_id}/assignment/{user_id}',
        tags: ['experiments'],
        summary: 'The same decision for one experiment',
      },
    })
    .input(wire.getAssignment)
    .output(wire.assignment)
    .query(({ ctx, input }) => assignments.getAssignment(ctx.platform, ctx.actor, input)),
})
