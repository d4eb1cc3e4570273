import { z } from 'zod'
import { keyedProcedure, router } from '../trpc.ts'
import { message } from '../wire.ts'
import * as wire from './layer-schema.ts'
import * as layers from './layers.ts'

const tags = ['Layers']
const manage = keyedProcedure('manage')
const read = keyedProcedure('read')

export const layersRouter = router({
  create: manage
    .meta({ openapi: { method: 'POST', path: '/layers', tags, summary: 'Create a layer' } })
    .input(wire.createLayer)
    .output(wire.layer)
    .mutation(({ ctx, input }) => ctx.define((em) => layers.createLayer(em, input))),
  list: read
    .meta({ openapi: { method: 'GET', path: '/layers', tags, summary: 'List layers' }, list: true })
    .input(wire.listLayers)
    .output(z.array(wire.layer))
    .query(({ ctx, input }) => layers.listLayers(ctx.em, input)),
  get: read
    .meta({
      openapi: {
        method: 'GET',
        path: '/layers/{layer_id}',
        tags,
        summary: 'Get a layer with its shares and its free positions',
      },
    })
    .input(wire.layerId)
    .output(wire.layerDetail)
    .query(({ ctx, input }) => layers.getLayer(ctx.em, input.layer_id)),
  update: manage
    .meta({ openapi: { method: 'PUT', path: '/layers/{layer_id}', tags, summary: 'Change a layer' } })
    .input(wire.updateLayer)
    .output(wire.layer)
    .mutation(({ ctx, input }) => ctx.define((em) => layers.updateLayer(em, input))),
  delete: manage
    .meta({
      openapi: {
        method: 'DELETE',
        path: '/layers/{layer_id}',
        tags,
        summary: 'Delete a layer that no experiment uses',
      },
    })
    .input(wire.layerId)
    .output(message)
    .mutation(({ ctx, input }) => ctx.define((em) => layers.deleteLayer(em, input.layer_id))),
  setShare: manage
    .meta({
      openapi: {
        method: 'PUT',
        path: '/layers/{layer_id}/experiments/{experiment_id}',
        tags,
        summary: 'Give an experiment a share of the layer, or change its share',
      },
    })
    .input(wire.setShare)
    .output(wire.layerDetail)
    .mutation(({ ctx, input }) => ctx.define((em) => layers.setShare(em, input))),
  leave: manage
    .meta({
      openapi: {
        method: 'DELETE',
        path: '/layers/{layer_id}/experiments/{experiment_id}',
        tags,
        summary: 'Take an experiment out of the layer',
      },
    })
    .input(wire.shareId)
    .output(message)
    .mutation(({ ctx, input }) => ctx.define((em) => layers.leaveLayer(em, input))),
})
