import { Ajv2020, type FuncKeywordDefinition, type ValidateFunction } from 'ajv/dist/2020.js'
import { invalid } from '../errors.ts'
import { compilePattern } from '../evaluation/pattern.ts'
import { type Json, jsonFault, type ValueType } from '../wire.ts'

type Path = readonly (string | number)[]
type Schema = Record<string, Json>

/** Limits of one value, which a schema checks and every answer carries. */
const LIMITS = { values: 5000, characters: 65_536 }
/** Limits of all patterns of a schema together, and of its lists of unique items. They bound the time of a check. */
const MOST_INSTRUCTIONS = 300
const MOST_UNIQUE = 10
/** Limits of a schema. It is compiled without a pause: 1000 values take about 0.1 s. */
const SCHEMA_LIMITS = { values: 1000, characters: 16_384 }

/** Checks the values of a flag, or the payloads of an experiment, against their type and JSON Schema. */
export type CheckValue = (value: unknown, ...field: Path) => void

/**
 * @param type null: any JSON value
 * @param field that a fault of the schema itself is reported in
 * @returns a check that throws DomainError BAD_REQUEST with the path of the fault
 */
export function valueCheck(type: ValueType | null, schema: Schema | null, field: string): CheckValue {
  const validate = schema === null ? null : compileSchema(schema, field)
  return (value, ...path) => {
    if (type !== null && typeOf(value) !== type) throw invalid(`must be ${article[type]}, as the type says`, ...path)
    const tooLarge = jsonFault(value, LIMITS)
    if (tooLarge) throw invalid(tooLarge, ...path)
    const fault = validate && faultOf(validate, value)
    if (fault) throw invalid(`${fault.message}, as the schema says`, ...path, ...fault.path)
  }
}

/** Finds the first fault of a value, with its path; null where the value fits. */
function faultOf(validate: ValidateFunction, value: unknown): { message: string; path: Path } | null {
  try {
    if (validate(value) === true) return null
  } catch (error) {
    if (error instanceof TextTooLong) return { message: error.message, path: [] }
    throw error
  }
  const [fault] = validate.errors ?? []
  const path = (fault?.instancePath ?? '').split('/').slice(1).map(unescaped)
  return { message: fault?.message ?? 'does not fit', path }
}

class TextTooLong extends Error {}

const article: Record<ValueType, string> = {
  boolean: 'a boolean',
  string: 'a string',
  number: 'a number',
  object: 'an object',
}

const typeOf = (value: unknown) => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value)

/** A step of a JSON pointer. */
const unescaped = (step: string) => step.replaceAll('~1', '/').replaceAll('~0', '~')

/**
 * Unknown keywords are refused, as mistakes. So are references, of which a few lines could take for ever; patterns are
 * searched in linear time, and so are repetitions: no value can stall the process.
 */
function compileSchema(schema: Schema, field: string): ValidateFunction {
  const tooLarge = jsonFault(schema, SCHEMA_LIMITS)
  if (tooLarge) throw invalid(tooLarge, field)
  const text = JSON.stringify(schema)
  const refused = /"(\$(?:ref|dynamicRef|recursiveRef|async))":/.exec(text)
  if (refused) throw invalid(`${refused[1]} is not supported, nor a property of that name`, field)
  if ((text.match(/"uniqueItems":/g)?.length ?? 0) > MOST_UNIQUE)
    throw invalid(`must not have more than ${MOST_UNIQUE} lists of unique items`, field)
  const ajv = new Ajv2020({
    strict: true,
    strictTypes: false,
    strictTuples: false,
    strictRequired: false,
    validateFormats: false,
    logger: false,
    code: { regExp: patternCompiler() },
  })
  ajv.removeKeyword('uniqueItems').addKeyword(uniqueItems)
  try {
    return ajv.compile(schema)
  } catch (error) {
    throw invalid((error as Error).message, field)
  }
}

/** Ajv's own compares every item with every other. */
const uniqueItems: FuncKeywordDefinition = {
  keyword: 'uniqueItems',
  type: 'array',
  schemaType: 'boolean',
  error: { message: 'must not have items twice' },
  validate: (wanted: boolean, items: unknown[]) =>
    !wanted || new Set(items.map((item) => JSON.stringify(item, inOrder))).size === items.length,
}

/** Equal objects are written alike, whatever the order of their keys. */
const inOrder = (_key: string, value: unknown) =>
  typeOf(value) === 'object'
    ? Object.fromEntries(Object.entries(value as object).sort(([a], [b]) => (a < b ? -1 : 1)))
    : value

/** Patterns are RE2's, and bounded together, as often as they stand in the schema. */
function patternCompiler() {
  let left = MOST_INSTRUCTIONS
  const regExp = (pattern: string) => {
    const { isIn, instructions } = compilePattern(pattern, false, [])
    left -= instructions
    if (left < 0) throw new Error('the patterns of the schema are too large together')
    const test = (text: string) => {
      const found = isIn(text)
      if (found === null)
        throw new TextTooLong('has a text of more than 1,000 characters, in which no pattern is searched for')
      return found
    }
    // Ajv tells compiled patterns apart by their text.
    return { test, toString: () => pattern }
  }
  return Object.assign(regExp, { code: 'new RegExp' })
}
