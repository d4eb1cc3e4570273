import { keyedProcedure, router } from '../trpc.ts'
import { readChecklist } from './checklist.ts'
import * as wire from './schema.ts'
import * as planning from './service.ts'

const tags = ['Planning']
const read = keyedProcedure('read')

export const planningRouter = router({
  sampleSize: read
    .meta({
      openapi: {
        method: 'POST',
        path: '/planning/sample-size',
        tags,
        summary: 'Compute how many users an effect needs, and how many days',
      },
    })
    .input(wire.planSampleSize)
    .output(wire.sampleSizePlan)
    .query(({ input }) => planning.planSampleSize(input)),
  power: read
    .meta({
      openapi: {
        method: 'POST',
        path: '/planning/power',
        tags,
        summary: 'Compute the power of given numbers of users, and the smallest effect that they detect',
      },
    })
    .input(wire.planPower)
    .output(wire.powerPlan)
    .query(({ input }) => planning.planPower(input)),
  checklist: read
    .meta({
      openapi: {
        method: 'GET',
        path: '/experiments/{experiment_id}/checklist',
        tags,
        summary: 'Read the plan of an experiment, what it lacks before the start, and the users it needs',
      },
    })
    .input(wire.checklistOf)
    .output(wire.checklist)
    .query(({ ctx, input }) => readChecklist(ctx.em, input.experiment_id)),
})
