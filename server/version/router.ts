import { keyedProcedure, router } from '../trpc.ts'
import * as wire from './schema.ts'
import { readVersion } from './service.ts'

export const versionRouter = router({
  get: keyedProcedure('read')
    .meta({
      openapi: {
        method: 'GET',
        path: '/version',
        tags: ['Version'],
        summary: 'Read which version of the platform runs',
      },
    })
    .input(wire.versionInput)
    .output(wire.version)
    .query(({ ctx }) => readVersion(ctx.em)),
})
