import { z } from 'zod'
import { keyedProcedure, router } from '../trpc.ts'
import { message } from '../wire.ts'
import { evaluateFlags } from './evaluate.ts'
import { explainEvaluation } from './explain.ts'
import * as wire from './schema.ts'
import * as flags from './service.ts'

const tags = ['Flags']
const manage = keyedProcedure('manage')
const read = keyedProcedure('read')
const evaluate = keyedProcedure('evaluate')

export const flagsRouter = router({
  create: manage
    .meta({ openapi: { method: 'POST', path: '/flags', tags, summary: 'Create a flag' } })
    .input(wire.createFlag)
    .output(wire.flag)
    .mutation(({ ctx, input }) => ctx.define((em) => flags.createFlag(em, input))),
  list: read
    .meta({ openapi: { method: 'GET', path: '/flags', tags, summary: 'List flags' }, list: 'key' })
    .input(wire.listFlags)
    .output(z.array(wire.flag))
    .query(({ ctx, input }) => flags.listFlags(ctx.em, input)),
  evaluate: evaluate
    .meta({
      openapi: {
        method: 'POST',
        path: '/flags/evaluate',
        tags,
        summary: 'Evaluate flags, and experiments read as flags, for a user',
      },
    })
    .input(wire.evaluateFlags)
    .output(wire.evaluatedFlags)
    .mutation(({ ctx, input }) => evaluateFlags(ctx.platform.deciding, ctx.actor, input)),
  get: read
    .meta({ openapi: { method: 'GET', path: '/flags/{key}', tags, summary: 'Get a flag' } })
    .input(wire.flagKey)
    .output(wire.flag)
    .query(({ ctx, input }) => flags.getFlag(ctx.em, input.key)),
  update: manage
    .meta({ openapi: { method: 'PUT', path: '/flags/{key}', tags, summary: 'Change a flag, or switch it on or off' } })
    .input(wire.updateFlag)
    .output(wire.flag)
    .mutation(({ ctx, input }) => ctx.define((em) => flags.updateFlag(em, input))),
  delete: manage
    .meta({ openapi: { method: 'DELETE', path: '/flags/{key}', tags, summary: 'Delete a flag; its history stays' } })
    .input(wire.flagKey)
    .output(message)
    .mutation(({ ctx, input }) => ctx.define((em) => flags.deleteFlag(em, input.key))),
  history: read
    .meta({
      openapi: {
        method: 'GET',
        path: '/flags/{key}/history',
        tags,
        summary: 'List every version of a flag, and who made it',
      },
      list: 'version',
    })
    .input(wire.flagHistory)
    .output(z.array(wire.flagVersion))
    .query(({ ctx, input }) => flags.flagHistory(ctx.em, input)),
  uses: read
    .meta({
      openapi: {
        method: 'GET',
        path: '/flags/{key}/uses',
        tags,
        summary: 'List the segments and experiments that the rules of a flag name',
      },
    })
    .input(wire.flagKey)
    .output(wire.flagUses)
    .query(({ ctx, input }) => flags.usesOfFlag(ctx.em, input.key)),
  explain: read
    .meta({
      openapi: {
        method: 'POST',
        path: '/flags/{key}/explain',
        tags,
        summary: 'Explain rule by rule why a user gets or got a value',
      },
    })
    .input(wire.explainFlag)
    .output(wire.flagExplanation)
    .query(({ ctx, input }) => explainEvaluation(ctx.em, ctx.platform.users.profiles, input)),
})
