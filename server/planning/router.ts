import { keyedProcedure, router } from '../trpc.ts'
import { readChecklist } from './checklist.ts'
import * as wire from './schema.ts'
import * as planning from './service.ts'

const tags = ['planning']
const read = keyedProcedure('read')

export const planningRouter = router({
  sampleSize: read
    .meta({
      openapi: {
        method: 'POST',
        path: '/planning/sample-size',
        tags,
        summary: 'How many users an effect needs, and how long',
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
        summary: 'What so many users find: the power for an effect, and the smallest effect',
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
        summary: 'What the analysis is planned with, before the start locks it, and what real traffic makes of it',
      },
    })
    .input(wire.checklistOf)
    .output(wire.checklist)
    .query(({ ctx, input }) => readChecklist(ctx.em, input.experiment_id)),
})
