import { keyedProcedure, router } from '../trpc.ts'
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
})
