import { z } from 'zod'

/** The keys of definitions, and the fields in which a key may stand in place of an id. */

const MAX_INT = 2_147_483_647

/** The key of an experiment, a segment, a metric or a layer. Services refuse new keys that a path could mistake. */
export const definitionKey = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9_-]{0,99}$/,
    'must be 1 to 100 lower-case letters, digits, - or _, and begin with a letter or a digit',
  )
  .meta({ description: 'URL-safe and unique; derived from the name by default', examples: ['new-checkout-flow'] })
/** True for digits alone, which mean an id wherever an id or a key may stand. */
export const isDigits = (text: string) => /^\d+$/.test(text)

export type ReferenceKind = 'experiment' | 'segment' | 'metric' | 'layer'
/** The schemas that accept a key in place of an id. `definitions/references.ts` replaces keys before schemas see them. */
export const references = z.registry<{ kind: ReferenceKind }>()
const REFERENCE_KEY = /^(?=.*[a-z_-])[a-z0-9][a-z0-9_-]{0,99}$/
/** Tells whether a value names a definition by key. */
export const isReferenceKey = (value: unknown): value is string =>
  typeof value === 'string' && REFERENCE_KEY.test(value)
/** The key of a definition, where it cannot be an id. */
export const referenceKey = z
  .string()
  .regex(REFERENCE_KEY, 'must be a key: lower-case letters, digits, - or _, and not digits alone')
/** Makes the schema of an id in place of which callers may give a key. */
function reference(kind: ReferenceKind, article: 'a' | 'an') {
  const schema = z
    .int({
      error: ({ input }) => (input === undefined ? undefined : `must be the id or the key of ${article} ${kind}`),
    })
    .positive()
    .max(MAX_INT)
    .meta({
      examples: [1],
      override: ({ jsonSchema }) => {
        const { type, exclusiveMinimum, maximum } = jsonSchema
        for (const name of ['type', 'exclusiveMinimum', 'maximum'] as const) delete jsonSchema[name]
        jsonSchema.anyOf = [
          { type, exclusiveMinimum, maximum } as never,
          { type: 'string', pattern: REFERENCE_KEY.source, description: `The key of the ${kind}` },
        ]
      },
    })
    .register(references, { kind })
  return schema as unknown as z.ZodType<number, number | string>
}
export const experimentRef = reference('experiment', 'an')
export const segmentRef = reference('segment', 'a')
export const metricRef = reference('metric', 'a')
export const layerRef = reference('layer', 'a')
