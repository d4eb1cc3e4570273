import { z } from 'zod'
import { keyedProcedure, router } from '../trpc.ts'
import { message } from '../wire.ts'
import { explainDecision } from './explain.ts'
import * as overrides from './overrides.ts'
import * as wire from './schema.ts'
import * as assignments from './service.ts'

const evaluate = keyedProcedure('evaluate')
const read = keyedProcedure('read')
const manage = keyedProcedure('manage')

export const assignmentsRouter = router({
  checkEligibility: evaluate
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/check-eligibility',
        tags: ['Assignments'],
        summary: 'Decide the variants of a user in several experiments',
      },
    })
    .input(wire.checkEligibility)
    .output(wire.eligibility)
    .mutation(({ ctx, input }) => assignments.checkEligibility(ctx.platform.deciding, ctx.actor, input)),
  get: evaluate
    .meta({
      openapi: {
        method: 'GET',
        path: '/experiments/{experiment_id}/assignment/{user_id}',
        tags: ['Assignments'],
        summary: 'Decide the variant of a user in one experiment',
      },
    })
    .input(wire.getAssignment)
    .output(wire.assignment)
    .query(({ ctx, input }) => assignments.getAssignment(ctx.platform.deciding, ctx.actor, input)),
  explain: read
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/{experiment_id}/explain',
        tags: ['Assignments'],
        summary: 'Explain step by step why a user gets or got a variant',
      },
    })
    .input(wire.explainDecision)
    .output(wire.explanation)
    .query(({ ctx, input }) => explainDecision(ctx.em, ctx.platform.users.profiles, input)),
  setOverride: manage
    .meta({
      openapi: {
        method: 'PUT',
        path: '/experiments/{experiment_id}/overrides/{user_id}',
        tags: ['Assignments'],
        summary: 'Force a variant on a user, for testing',
      },
    })
    .input(wire.setOverride)
    .output(wire.override)
    .mutation(({ ctx, input }) => ctx.define((em) => overrides.setOverride(em, input))),
  removeOverride: manage
    .meta({
      openapi: {
        method: 'DELETE',
        path: '/experiments/{experiment_id}/overrides/{user_id}',
        tags: ['Assignments'],
        summary: 'Remove an override; the results of the run still leave the user out',
      },
    })
    .input(wire.overrideOf)
    .output(message)
    .mutation(({ ctx, input }) => ctx.define((em) => overrides.removeOverride(em, input))),
  listOverrides: read
    .meta({
      openapi: {
        method: 'GET',
        path: '/experiments/{experiment_id}/overrides',
        tags: ['Assignments'],
        summary: 'List the overrides of an experiment',
      },
    })
    .input(wire.overridesOf)
    .output(z.array(wire.override))
    .query(({ ctx, input }) => overrides.listOverrides(ctx.em, input.experiment_id)),
})
