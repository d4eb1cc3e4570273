import type { ErrorObject } from 'ajv'
import { unknownName } from '../evaluation/unknown-name.ts'
import type { Json } from '../wire.ts'

/** Says in plain sentences what is wrong with a JSON Schema, or with a value that does not fit one. */

type Path = readonly (string | number)[]
type Fault = { message: string; path: Path }

/** Describes the first error of a check by Ajv. */
export function firstFault(errors: readonly ErrorObject[] | null | undefined): Fault {
  const [error] = errors ?? []
  if (!error) return { message: 'does not fit', path: [] }
  return { message: sentenceOf(error), path: error.instancePath.split('/').slice(1).map(unescaped) }
}

const NOUNS: Record<string, string> = {
  array: 'a list',
  boolean: 'a boolean',
  integer: 'a whole number',
  null: 'null',
  number: 'a number',
  object: 'an object',
  string: 'a string',
}

function sentenceOf({ keyword, params, message = 'does not fit' }: ErrorObject): string {
  switch (keyword) {
    case 'type':
      return `must be ${[params.type]
        .flat()
        .map((type) => NOUNS[type] ?? type)
        .join(' or ')}`
    case 'const':
      return `must be ${JSON.stringify(params.allowedValue)}`
    case 'enum':
      return `must be one of ${params.allowedValues.map((value: unknown) => JSON.stringify(value)).join(', ')}`
    case 'additionalProperties':
      return `must not have the property ${params.additionalProperty}`
    default:
      return message.replace('must NOT', 'must not')
  }
}

/** Unescapes one step of a JSON pointer. */
const unescaped = (step: string) => step.replaceAll('~1', '/').replaceAll('~0', '~')

/**
 * Describes why Ajv did not compile a schema. Ajv's error names an unknown keyword but not its place.
 * @param keywords all keywords that a schema can have
 */
export function faultOfSchema(schema: Json, error: Error, keywords: readonly string[]): Fault {
  const keyword = /unknown keyword: "(.*)"$/s.exec(error.message)?.[1]
  if (keyword === undefined) return { message: error.message.replace(/^strict mode: /, ''), path: [] }
  return { message: unknownName('keyword', keyword, keywords), path: findKeyword(schema, keyword, false) ?? [keyword] }
}

/** The keywords that hold schemas by names of the author's choice. */
const BY_NAME = ['properties', 'patternProperties', 'dependentSchemas', '$defs', 'definitions']
/** The keywords that hold values, in which nothing is a keyword. */
const VALUES = ['const', 'enum', 'default', 'examples']

/** Finds the first place of a keyword. @param named true if the keys of the schema are names and not keywords */
function findKeyword(schema: Json, keyword: string, named: boolean): Path | null {
  if (typeof schema !== 'object' || schema === null) return null
  const isList = Array.isArray(schema)
  if (!isList && !named && Object.hasOwn(schema, keyword)) return [keyword]
  for (const [key, part] of Object.entries(schema)) {
    if (!isList && !named && VALUES.includes(key)) continue
    const found = findKeyword(part, keyword, !isList && !named && BY_NAME.includes(key))
    if (found) return [isList ? Number(key) : key, ...found]
  }
  return null
}
