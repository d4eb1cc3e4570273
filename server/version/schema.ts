import { z } from 'zod'

export const versionInput = z.strictObject({})
export const version = z
  .object({
    version: z.string().meta({ description: 'The version of the platform', examples: ['0.1.0'] }),
    engine_version: z.string().meta({ description: 'The version of the rules by which results are computed' }),
    database_version: z.string().meta({ description: 'The last migration of the database', examples: ['0011'] }),
    node_version: z.string().meta({ examples: ['24.0.0'] }),
  })
  .meta({ id: 'Version' })
export type Version = z.output<typeof version>
