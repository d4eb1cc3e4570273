import { z } from 'zod'

export const figure = z.number().nullable()
export const interval = z
  .object({ lower: figure, upper: figure })
  .meta({ id: 'ResultInterval', description: 'A bound is null where the interval is unbounded' })

/** The name of a variant beside its id. An answer that an older version froze is served as it was, without names. */
export const variantName = z
  .string()
  .optional()
  .meta({ description: 'Name of the variant; absent in answers that versions before 0.2 froze' })
