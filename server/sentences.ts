import { type ZodError, z } from 'zod'
import { withoutSecrets } from './errors.ts'
import { unknownField, writableNames } from './fields.ts'

/** Says what is wrong with an input, in one sentence per fault: zod's own texts are for its developers. */

/** A fault of an input: the path of the field, and what is wrong with it. */
export type Issue = { path: (string | number)[]; message: string }

type RawIssue = z.core.$ZodRawIssue
type ObjectSchema = { _zod: { def: { shape: Record<string, z.core.$ZodType> } } }

/** The most unknown fields of one object that an error names. */
const MAX_UNKNOWN = 20

z.config({ customError: sentenceOf })

function sentenceOf(issue: RawIssue): string | undefined {
  const { input } = issue
  switch (issue.code) {
    case 'invalid_type':
      if (input === undefined) return 'is required'
      return `must be ${typeName(issue.expected)}${exampleOf(issue.inst)}, not ${shown(input)}${input === null ? emptyOf(issue) : ''}`
    case 'invalid_value':
      return input === undefined
        ? `is required: ${choice(issue.values)}`
        : `${shown(input)} is not ${choice(issue.values)}`
    case 'too_small':
      if (issue.origin === 'string')
        return issue.minimum === 1 ? 'must not be empty' : `must have at least ${issue.minimum} characters`
      if (issue.origin === 'array') return `must have at least ${counted(issue.minimum, 'item')}`
      return `${shown(input)} is ${issue.inclusive ? 'below' : 'not above'} ${issue.minimum}`
    case 'too_big':
      if (issue.origin === 'string') return `must have at most ${issue.maximum} characters`
      if (issue.origin === 'array') return `must have at most ${counted(issue.maximum, 'item')}, not ${lengthOf(input)}`
      return `${shown(input)} is ${issue.inclusive ? 'above' : 'not below'} ${issue.maximum}`
    case 'invalid_format':
      return `${shown(input)} is not of the form that is expected`
    case 'invalid_key':
      return `has a name that ${issue.issues[0]?.message ?? 'is not accepted'}`
    case 'invalid_union':
      return unionSentence(issue)
    case 'unrecognized_keys':
      // Zod reports all unknown fields of an object as one issue; `issuesOf` makes one issue of each line.
      return issue.keys
        .slice(0, MAX_UNKNOWN)
        .map((name) => unknownField(name, namesOf(issue.inst)))
        .join('\n')
    default:
      return undefined
  }
}

/** Says how an empty list or object is written, for null in its place. */
function emptyOf({ expected, inst }: RawIssue & { code: 'invalid_type' }): string {
  if (expected === 'record') return ': send {} for none'
  const { minimum: least = 0 } = (inst as { _zod?: { bag?: { minimum?: number } } } | undefined)?._zod?.bag ?? {}
  return expected === 'array' && least === 0 ? ': send [] for none' : ''
}

/** Shows the example of an object, where its schema has one. */
function exampleOf(schema: unknown): string {
  const [example] = (schema instanceof z.ZodObject && z.globalRegistry.get(schema)?.examples) || []
  return example === undefined ? '' : ` such as ${JSON.stringify(example)}`
}

const namesOf = (schema: unknown) => writableNames((schema as ObjectSchema)._zod.def.shape)

function unionSentence(issue: RawIssue & { code: 'invalid_union' }): string {
  const { input } = issue
  if ('discriminator' in issue && typeof issue.discriminator === 'string') {
    const given = (input as Record<string, unknown>)[issue.discriminator]
    const options = (issue as { options?: unknown[] }).options ?? []
    return given === undefined ? `is required: ${choice(options)}` : `${shown(given)} is not ${choice(options)}`
  }
  const branches = issue.errors.map(([first]) => first)
  const nearest = branches.find((first) => first && (first.code !== 'invalid_type' || first.path.length > 0))
  if (nearest) return nearest.message
  const names = branches.map((first) => typeName((first as { expected?: string } | undefined)?.expected ?? ''))
  return `must be ${joined(names)}, not ${shown(input)}`
}

const TYPE_NAMES: Record<string, string> = {
  string: 'a string',
  number: 'a number',
  int: 'a whole number',
  boolean: 'a boolean',
  array: 'a list',
  object: 'an object',
  record: 'an object',
}
const typeName = (expected: string) => TYPE_NAMES[expected] ?? expected

const MAX_SHOWN = 60

/** Shows a given value in a sentence. */
function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  // The parser of bodies makes NaN of a whole number that it would have to round, and Infinity of 1e999.
  if (typeof value === 'number' && !Number.isFinite(value)) return 'a number that is too large'
  if (typeof value === 'object' && value !== null) return 'an object'
  const text = withoutSecrets(JSON.stringify(value) ?? String(value))
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text
}

const joined = (names: readonly string[]) =>
  names.length > 1 ? `${names.slice(0, -1).join(', ')} or ${names.at(-1)}` : String(names[0])
const choice = (values: readonly unknown[]) => joined(values.map(String))
const counted = (count: number | bigint, noun: string) => `${count} ${noun}${Number(count) === 1 ? '' : 's'}`
const lengthOf = (value: unknown) => (Array.isArray(value) ? value.length : 0)

/** Lists the faults of an input: one for each unknown field, at most 20 of an object, and one for each other path. */
export function issuesOf(error: ZodError): Issue[] {
  const paths = new Set<string>()
  return error.issues.flatMap((issue) => {
    const path = issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step))
    if (issue.code === 'unrecognized_keys') {
      const messages = issue.message.split('\n')
      return messages.map((message, index) => ({ path: [...path, issue.keys[index] as string], message }))
    }
    const key = JSON.stringify(path)
    if (paths.has(key)) return []
    paths.add(key)
    return [{ path, message: issue.message }]
  })
}

/** Writes faults as one text: `rules.0: unknown field conditions (did you mean condition?)`. */
export function sentencesOf(issues: readonly Issue[]): string {
  return issues
    .map(({ path, message }) => {
      // The sentence about an unknown name has the name, so only the path of the object that holds it precedes it.
      const steps = /^unknown (field|operator|keyword) /.test(message) ? path.slice(0, -1) : path
      return steps.length > 0 ? `${steps.join('.')}: ${message}` : message
    })
    .join('; ')
}
