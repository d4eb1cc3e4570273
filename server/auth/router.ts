import { z } from 'zod'
import { keyManagementProcedure, router } from '../trpc.ts'
import { message } from '../wire.ts'
import * as wire from './schema.ts'
import * as auth from './service.ts'

const tags = ['API keys']

export const authRouter = router({
  createKey: keyManagementProcedure
    .meta({
      openapi: {
        method: 'POST',
        path: '/auth/keys',
        tags,
        summary: 'Create an API key; only this answer contains the whole key',
      },
    })
    .input(wire.createKey)
    .output(wire.apiKey)
    .mutation(({ ctx, input }) => ctx.audited((em) => auth.createKey(em, input))),
  listKeys: keyManagementProcedure
    .meta({
      openapi: { method: 'GET', path: '/auth/keys', tags, summary: 'List API keys, masked' },
      list: true,
    })
    .input(wire.listKeys)
    .output(z.array(wire.apiKey))
    .query(({ ctx, input }) => auth.listKeys(ctx.em, input)),
  updateKey: keyManagementProcedure
    .meta({
      openapi: {
        method: 'PATCH',
        path: '/auth/keys/{key_id}',
        tags,
        summary: 'Change the name, scopes or expiry of an API key, or activate or deactivate it',
      },
    })
    .input(wire.updateKey)
    .output(wire.apiKey)
    .mutation(({ ctx, input }) => auth.updateKey(ctx.audited, ctx.platform.keyRing, input)),
  rotateKey: keyManagementProcedure
    .meta({
      openapi: {
        method: 'POST',
        path: '/auth/keys/{key_id}/rotate',
        tags,
        summary: 'Replace an API key; the old one works for some hours more',
      },
    })
    .input(wire.rotateKey)
    .output(wire.rotatedKey)
    .mutation(({ ctx, input }) => auth.rotateKey(ctx.audited, ctx.platform.keyRing, input)),
  deleteKey: keyManagementProcedure
    .meta({
      openapi: { method: 'DELETE', path: '/auth/keys/{key_id}', tags, summary: 'Delete an API key' },
    })
    .input(wire.keyId)
    .output(message)
    .mutation(({ ctx, input }) => auth.deleteKey(ctx.audited, ctx.platform.keyRing, input.key_id)),
})
