import { z } from 'zod'
import { definitionKey, experimentRef, layerRef } from '../definitions/reference-schema.ts'
import { updateOf } from '../fields.ts'
import { changeable, clearable, id, name, namedPage, optional, percent, text, timestamp } from '../wire.ts'
import { range, status } from './schema.ts'

export const layer = z
  .object({ id, name: z.string(), key: z.string(), description: z.string().nullable(), created_at: timestamp })
  .meta({ id: 'Layer', description: 'Experiments of one layer share no user: each has its own share of the positions' })
export const layerDetail = layer
  .extend({
    shares: z.array(
      z.object({
        experiment_id: id,
        experiment_name: z.string(),
        status: status.meta({
          description: 'If completed or archived, the ranges stay on record but are free for other experiments',
        }),
        percent: z.number(),
        ranges: z.array(range),
      }),
    ),
    free: z.array(range),
    free_percent: z.number(),
  })
  .meta({ id: 'LayerDetail' })
export type LayerDetail = z.output<typeof layerDetail>

export const createLayer = z
  .strictObject({
    name: name.meta({ examples: ['checkout'] }),
    key: optional(definitionKey).meta({ examples: ['checkout'] }),
    description: optional(text),
  })
  .meta({ id: 'CreateLayer' })
export type CreateLayer = z.output<typeof createLayer>
export const listLayers = namedPage
export const layerId = z.strictObject({ layer_id: layerRef })
export const updateLayer = updateOf(layerDetail, {
  layer_id: layerRef,
  name: changeable(name),
  key: changeable(definitionKey),
  description: clearable(text).meta({ description: 'null clears it' }),
}).meta({ id: 'UpdateLayer' })
export type UpdateLayer = z.output<typeof updateLayer>

export const setShare = z
  .strictObject({
    layer_id: layerRef,
    experiment_id: experimentRef,
    percent: optional(percent).meta({
      description:
        'The size of the share. A share grows into the lowest free positions and gives up its highest ones. ' +
        'Give percent or ranges',
      examples: [25],
    }),
    ranges: optional(z.array(range).max(1000)).meta({
      description: 'The exact positions of the share. Give percent or ranges',
    }),
  })
  .meta({ id: 'SetLayerShare', examples: [{ percent: 25 }] })
export type SetShare = z.output<typeof setShare>
export const shareId = z.strictObject({ layer_id: layerRef, experiment_id: experimentRef })
export type ShareId = z.output<typeof shareId>
