import { z } from 'zod'

export const figure = z.number().nullable()
export const interval = z
  .object({
    lower: figure.meta({ description: 'Lower bound; null where the interval is unbounded below' }),
    upper: figure.meta({ description: 'Upper bound; null where the interval is unbounded above' }),
  })
  .meta({ id: 'ResultInterval', description: 'A bound is null where the interval is unbounded' })

/** The name of a variant beside its id. An answer that an older version froze is served as it was, without names. */
export const variantName = z
  .string()
  .optional()
  .meta({ description: 'Name of the variant; absent in answers that versions before 0.2 froze' })
