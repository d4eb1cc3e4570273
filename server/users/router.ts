import { z } from 'zod'
import { keyedProcedure, router } from '../trpc.ts'
import { message } from '../wire.ts'
import * as wire from './schema.ts'
import * as users from './service.ts'

const tags = ['Users']
const manage = keyedProcedure('manage')
const evaluate = keyedProcedure('evaluate')
const read = keyedProcedure('read')

export const usersRouter = router({
  create: manage
    .meta({ openapi: { method: 'POST', path: '/users', tags, summary: 'Create a user' } })
    .input(wire.createUser)
    .output(wire.user)
    .mutation(({ ctx, input }) => users.createUser(ctx.em, ctx.platform.users.profiles, input)),
  list: read
    .meta({ openapi: { method: 'GET', path: '/users', tags, summary: 'List users' }, list: true })
    .input(wire.listUsers)
    .output(z.array(wire.user))
    .query(({ ctx, input }) => users.listUsers(ctx.em, input)),
  get: read
    .meta({ openapi: { method: 'GET', path: '/users/{user_id}', tags, summary: 'Get a user' } })
    .input(wire.userIdInput)
    .output(wire.user)
    .query(({ ctx, input }) => users.getUser(ctx.em, input.user_id)),
  update: manage
    .meta({ openapi: { method: 'PUT', path: '/users/{user_id}', tags, summary: 'Change a user' } })
    .input(wire.updateUser)
    .output(wire.user)
    .mutation(({ ctx, input }) => users.updateUser(ctx.em, ctx.platform.users.profiles, input)),
  delete: manage
    .meta({
      openapi: { method: 'DELETE', path: '/users/{user_id}', tags, summary: 'Erase a user; results stay as they are' },
    })
    .input(wire.userIdInput)
    .output(message)
    .mutation(({ ctx, input }) => users.deleteUser(ctx.em, ctx.platform.users.forget, input.user_id)),
  alias: evaluate
    .meta({
      openapi: {
        method: 'POST',
        path: '/users/alias',
        tags,
        summary: 'Join an anonymous id to a user, as at login: no variant flips, and results count one user',
      },
    })
    .input(wire.joinAlias)
    .output(wire.alias)
    .mutation(({ ctx, input }) => users.joinAlias(ctx.platform.users.aliasWriter, input, ctx.actor)),
  undoAlias: manage
    .meta({
      openapi: {
        method: 'DELETE',
        path: '/users/alias/{alias_id}',
        tags,
        summary: 'Undo a join: the id belongs to nobody any more, no variant flips, and results count two users',
      },
    })
    .input(wire.aliasIdInput)
    .output(message)
    .mutation(({ ctx, input }) => users.undoAlias(ctx.platform, input.alias_id, ctx.actor)),
  aliases: read
    .meta({ openapi: { method: 'GET', path: '/users/{user_id}/aliases', tags, summary: 'List the aliases of a user' } })
    .input(wire.listAliases)
    .output(wire.aliases)
    .query(({ ctx, input }) => users.listAliases(ctx.em, ctx.platform.users.profiles, input)),
})
