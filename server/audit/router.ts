import { z } from 'zod'
import { keyedProcedure, router } from '../trpc.ts'
import * as wire from './schema.ts'
import { AUDIT_FORMATS, listAudit } from './service.ts'

export const auditRouter = router({
  list: keyedProcedure('admin')
    .meta({
      openapi: {
        method: 'GET',
        path: '/audit',
        tags: ['Audit'],
        summary:
          'List who changed which definition, and who joined, forced or excluded users, with the values before and after',
      },
      list: true,
      formats: AUDIT_FORMATS,
    })
    .input(wire.listAudit)
    .output(z.array(wire.auditEntry))
    .query(({ ctx, input }) => listAudit(ctx.em, input)),
})
