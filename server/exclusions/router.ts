import { z } from 'zod'
import { keyedProcedure, router } from '../trpc.ts'
import * as wire from './schema.ts'
import * as exclusions from './service.ts'

const tags = ['Results']
const path = '/experiments/{experiment_id}/exclusions'

export const exclusionsRouter = router({
  list: keyedProcedure('read')
    .meta({ openapi: { method: 'GET', path, tags, summary: 'List the users excluded from the results by request' } })
    .input(wire.listExcluded)
    .output(z.array(wire.excludedUser))
    .query(({ ctx, input }) => exclusions.listExcluded(ctx.em, input)),
  add: keyedProcedure('manage')
    .meta({ openapi: { method: 'POST', path, tags, summary: 'Exclude users from the results' } })
    .input(wire.excludeUsers)
    .output(wire.changedUsers)
    .mutation(({ ctx, input }) => ctx.audited((em) => exclusions.excludeUsers(em, input))),
  remove: keyedProcedure('manage')
    .meta({
      openapi: { method: 'POST', path: `${path}/remove`, tags, summary: 'Include excluded users in the results again' },
    })
    .input(wire.includeUsers)
    .output(wire.changedUsers)
    .mutation(({ ctx, input }) => ctx.audited((em) => exclusions.includeUsers(em, input))),
})
