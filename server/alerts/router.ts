import { tracked } from '@trpc/server'
import { z } from 'zod'
import { keyedProcedure, router, translated } from '../trpc.ts'
import * as wire from './schema.ts'
import * as alerts from './service.ts'

const read = keyedProcedure('read')

export const alertsRouter = router({
  list: read
    .meta({
      openapi: {
        method: 'GET',
        path: '/alerts',
        tags: ['Alerts'],
        summary: 'List alerts: new findings in the results of experiments',
      },
      list: true,
    })
    .input(wire.listAlerts)
    .output(z.array(wire.alert))
    .query(({ ctx, input }) => alerts.listAlerts(ctx.em, input)),
  follow: read.input(wire.followAlerts).subscription(async function* ({ ctx, input, signal }) {
    for await (const alert of translated(alerts.followAlerts(ctx.platform.following, ctx.token, input, signal)))
      yield tracked(String(alert.id), alert)
  }),
})
