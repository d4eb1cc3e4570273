import { Ajv2020, type FuncKeywordDefinition, type ValidateFunction } from 'ajv/dist/2020.js'
import { invalid } from '../errors.ts'
import { compilePattern } from '../evaluation/pattern.ts'
import { type Json, jsonFault, type ValueType } from '../wire.ts'
import { faultOfSchema, firstFault } from './schema-faults.ts'

type Path = readonly (string | number)[]
type Schema = Record<string, Json>

/** Limits of one value. A schema checks each value, and every answer carries the value. */
const LIMITS = { values: 5000, characters: 65_536 }
/** Limits of all patterns of a schema together, and of its `uniqueItems`. These limits bound the time of a check. */
const MOST_INSTRUCTIONS = 300
const MOST_UNIQUE = 10
/** Limits of a schema. A schema is compiled without a pause: 1000 values take about 0.1 s. */
const SCHEMA_LIMITS = { values: 1000, characters: 16_384 }

/** Checks a value of a flag, or a payload, against a type and a JSON Schema. @param field the path of the value */
export type CheckValue = (value: unknown, ...field: Path) => void

/**
 * Makes a check of values.
 * @param type the type that values must have; null: any JSON value
 * @param schema the JSON Schema that values must fit; null: none
 * @param field the field in which a fault of the schema itself is reported
 * @returns a check that throws DomainError BAD_REQUEST with the path of the fault
 * @throws DomainError BAD_REQUEST if the schema is bad
 */
export function valueCheck(type: ValueType | null, schema: Schema | null, field: string): CheckValue {
  const validate = schema === null ? null : compileSchema(schema, field)
  return (value, ...path) => {
    if (type !== null && typeOf(value) !== type)
      throw invalid(`must be ${article[type]}, not ${typeOf(value)}`, ...path)
    const tooLarge = jsonFault(value, LIMITS)
    if (tooLarge) throw invalid(tooLarge, ...path)
    const fault = validate && faultOf(validate, value)
    if (fault) throw invalid(`${fault.message}, as the schema says`, ...path, ...fault.path)
  }
}

/** Finds the first fault of a value, with its path; null if the value fits. */
function faultOf(validate: ValidateFunction, value: unknown): { message: string; path: Path } | null {
  try {
    if (validate(value) === true) return null
  } catch (error) {
    if (error instanceof TextTooLong) return { message: error.message, path: [] }
    throw error
  }
  return firstFault(validate.errors)
}

class TextTooLong extends Error {}

const article: Record<ValueType, string> = {
  boolean: 'a boolean',
  string: 'a string',
  number: 'a number',
  object: 'an object',
}

/** Names the type of a JSON value. */
const typeOf = (value: unknown) => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value)

/**
 * Compiles a JSON Schema whose checks take linear time, so that no value can stall the process. Unknown keywords are
 * refused as mistakes. References are refused, because a few lines of references could take forever. Patterns are
 * searched, and `uniqueItems` are compared, in linear time.
 * @throws DomainError BAD_REQUEST, reported in `field`
 */
function compileSchema(schema: Schema, field: string): ValidateFunction {
  const tooLarge = jsonFault(schema, SCHEMA_LIMITS)
  if (tooLarge) throw invalid(tooLarge, field)
  const text = JSON.stringify(schema)
  const refused = /"(\$(?:ref|dynamicRef|recursiveRef|async))":/.exec(text)
  if (refused)
    throw invalid(`${refused[1]} is not supported, neither as a keyword nor as the name of a property`, field)
  if ((text.match(/"uniqueItems":/g)?.length ?? 0) > MOST_UNIQUE)
    throw invalid(`uniqueItems may occur at most ${MOST_UNIQUE} times`, field)
  const ajv = new Ajv2020({
    strict: true,
    strictTypes: false,
    strictTuples: false,
    strictRequired: false,
    validateFormats: false,
    // `validateSchema` is called below, for a fault with its path.
    validateSchema: false,
    logger: false,
    code: { regExp: patternCompiler() },
  })
  ajv.removeKeyword('uniqueItems').addKeyword(uniqueItems)
  if (ajv.validateSchema(schema) !== true) {
    const fault = firstFault(ajv.errors)
    throw invalid(fault.message, field, ...fault.path)
  }
  try {
    return ajv.compile(schema)
  } catch (error) {
    const fault = faultOfSchema(schema, error as Error, Object.keys(ajv.RULES.keywords))
    throw invalid(fault.message, field, ...fault.path)
  }
}

/** Replaces Ajv's own keyword, which compares every item with every other. */
const uniqueItems: FuncKeywordDefinition = {
  keyword: 'uniqueItems',
  type: 'array',
  schemaType: 'boolean',
  error: { message: 'must not contain an item twice' },
  validate: (wanted: boolean, items: unknown[]) =>
    !wanted || new Set(items.map((item) => JSON.stringify(item, inOrder))).size === items.length,
}

/** Sorts the keys of objects, so that equal objects are serialized alike. */
const inOrder = (_key: string, value: unknown) =>
  typeOf(value) === 'object'
    ? Object.fromEntries(Object.entries(value as object).sort(([a], [b]) => (a < b ? -1 : 1)))
    : value

/**
 * Makes the compiler of the patterns of a schema. Patterns follow RE2's syntax. The limit MOST_INSTRUCTIONS holds for
 * all patterns together; a pattern that occurs twice counts twice.
 */
function patternCompiler() {
  let left = MOST_INSTRUCTIONS
  const regExp = (pattern: string) => {
    const { isIn, instructions } = compilePattern(pattern, false, [])
    left -= instructions
    if (left < 0) throw new Error('the patterns of the schema are too large together: use fewer or simpler patterns')
    const test = (text: string) => {
      const found = isIn(text)
      if (found === null)
        throw new TextTooLong('has a text of more than 1,000 characters, which is too long for a pattern')
      return found
    }
    // Ajv identifies compiled patterns by their text.
    return { test, toString: () => pattern }
  }
  return Object.assign(regExp, { code: 'new RegExp' })
}
