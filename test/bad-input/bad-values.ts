import { isReferenceKey } from '../../server/definitions/reference-schema.ts'
import { Json, type Random } from './request.ts'
import type { Field } from './routes.ts'

/** A bad value, the kind of its fault, and the path at which the server must report the fault. */
export type BadValue = {
  kind: string
  value: unknown
  /** The path of the issue below the field. `null` means that the body cannot be read, so no field is named. */
  below?: readonly (string | number)[] | null
  /** True for a value that is too large to be sent in every round. */
  once?: true
}

const SURROGATES = ['\ud800', 'a\udfff', '\udc00\ud800', 'x\ud83d']
const NULS = ['\0', 'a\0b', 'nul\0']
const CONTROLS = ['\u0001', 'bell\u0007', 'es\u001bc', 'del\u007f', '\u001f']
const BLANKS = [' ', '   ', '\u00a0', '\u2003 \u3000', '\ufeff']

const DATES = {
  'a date that does not exist': [
    '2026-02-30T00:00:00Z',
    '2025-02-29T12:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-00-10T00:00:00Z',
    '2026-04-31T00:00:00Z',
    '2026-01-01T25:00:00Z',
    '2026-01-01T12:60:00Z',
    '2026-01-01T12:00:00+25:00',
  ],
  'a date without an offset': ['2026-01-01T00:00:00', '2026-01-01', '2026-01-01T00:00:00.000'],
  'a date that is not ISO 8601': [
    'yesterday',
    '',
    '2026-01-01 00:00:00Z',
    '1 Jan 2026',
    '20260101T000000Z',
    '1767225600',
  ],
  'a date out of range': [
    '0000-01-01T00:00:00Z',
    '0001-01-01T00:00:00+14:00',
    '0000-06-15T00:00:00+01:00',
    '9999-12-31T23:59:59-14:00',
  ],
}
const EMAILS = [
  '',
  'ada',
  'ada@',
  '@example.com',
  'a da@example.com',
  'ada@example',
  'ada@@example.com',
  '.ada@example.com',
  'ada..b@example.com',
  'ada@-example.com',
  'ada@example.com.',
  '"ada@example.com',
]
const PATTERNS: Record<string, string[]> = {
  country_code: ['', 'us', 'USA', 'U', 'U1', 'ÜS', ' US', 'US\n'],
  key: ['', 'Upper', '-x', '_x', 'a b', 'ä', 'a/b', 'x'.repeat(101), 'a\n'],
  time_zone: ['', 'Mars/Olympus', '+02:00', 'UTC ', ' UTC', 'Europe/Paris\n'],
  'key of a flag': ['', '.x', '-x', '_x', 'a b', 'ä', 'a/b', 'x'.repeat(101), 'a\n'],
}
/** The name of a field's pattern. Flags have a pattern of their own, because their keys may be upper case. */
const patternOf = ({ name, schema }: Field) =>
  name !== 'time_zone' && schema.pattern?.includes('A-Za-z') ? 'key of a flag' : name

/** The limits of strings, in characters, by the kind of the field. */
const MAX_LENGTHS: Record<string, number> = { text: 10_000, 'user id': 256, label: 255, 'any text': 100 }
const maxLength = (field: Field) => (field.name === 'event_id' ? 256 : (MAX_LENGTHS[field.kind] as number))

/** Picks one of several values with the same kind of fault. */
const oneOf = (kind: string, values: readonly unknown[], random: Random): BadValue => ({
  kind,
  value: random.pick(values),
})

/** Makes one bad value for each kind of fault that a field of a JSON body can have. */
export function badValues(field: Field, random: Random): BadValue[] {
  const { kind, schema } = field
  const found: BadValue[] = [...wrongTypes(field, random)]
  if (field.required && !field.nullable) found.push({ kind: 'null where it is not allowed', value: null })
  if (['label', 'text', 'user id', 'email', 'pattern', 'enum', 'instant'].includes(kind)) {
    found.push(oneOf('a lone surrogate', SURROGATES, random), oneOf('a null byte', NULS, random))
    found.push(oneOf('a control character', CONTROLS, random))
  }
  switch (kind) {
    case 'label':
      found.push({ kind: 'an empty name', value: '' }, oneOf('a blank name', BLANKS, random), tooLong(field, random))
      break
    case 'any text':
      found.push({ kind: 'an empty text', value: '' }, tooLong(field, random))
      break
    case 'user id':
      found.push({ kind: 'an empty user id', value: '' }, tooLong(field, random))
      found.push(oneOf('a user id that no URL can name', ['.', '..'], random))
      break
    case 'text':
      found.push(tooLong(field, random))
      break
    case 'email':
      found.push(oneOf('a text that is not an e-mail address', EMAILS, random))
      found.push({ kind: 'longer than allowed', value: `${'x'.repeat(random.int(250, 400))}@example.com` })
      break
    case 'pattern':
      found.push(oneOf('a text that does not match the pattern', PATTERNS[patternOf(field)] ?? ['', '\n', '%'], random))
      break
    case 'enum':
      found.push(
        oneOf(
          'an unknown enum value',
          ['nonsense', '', ` ${schema.enum?.[0]}`, schema.enum?.[0]?.toUpperCase()],
          random,
        ),
      )
      break
    case 'literal':
      found.push({ kind: 'an unknown enum value', value: false })
      break
    case 'instant':
      for (const [fault, dates] of Object.entries(DATES)) found.push(oneOf(fault, dates, random))
      break
    case 'id':
    case 'integer':
    case 'percent':
    case 'share':
    case 'number':
      found.push(...badNumbers(field, random))
      break
    case 'object':
    case 'json':
    case 'rules':
      found.push(...badJson(field, random))
      break
    case 'array':
      found.push(...badArrays(field, random))
  }
  return found
}

const tooLong = (field: Field, random: Random): BadValue => {
  const length = maxLength(field) + random.pick([1, 1, 2, 100, 5000])
  return { kind: 'longer than allowed', value: random.pick(['x', 'ä', '\u{1f600}']).repeat(length) }
}

/** Ids in place of which a key may stand. A text that could be a key is then no fault, but names nothing. */
const REFERENCES = new Set(['experiment_id', 'segment_id', 'metric_id', 'layer_id', 'holdout_id'])
const withoutKeys = (field: Field, texts: readonly string[]) =>
  REFERENCES.has(field.name) ? texts.filter((text) => !isReferenceKey(text)) : texts

/** Makes a value of every JSON type that the field does not accept. */
function wrongTypes(field: Field, random: Random): BadValue[] {
  const { kind, schema } = field
  const types: Record<string, unknown> = {
    string: random.pick(withoutKeys(field, ['7', 'true', 'null', '', 'abc', '1e3', '[]'])),
    number: random.pick([0, 1, 7, -1, 1.5, 1767225600]),
    boolean: random.chance(0.5),
    array: random.pick<unknown>([[], [1], ['a'], [null], [[]]]),
    object: random.pick<unknown>([{}, { id: 1 }, { $gt: 0 }, { toString: 1 }, { length: 3 }]),
  }
  if (kind === 'json') return []
  const accepted: Record<string, string> = {
    object: 'object',
    rules: 'object',
    array: 'array',
    boolean: 'boolean',
    literal: 'boolean',
  }
  const own = accepted[kind] ?? (schema.type === 'string' ? 'string' : 'number')
  return Object.entries(types)
    .filter(([type]) => type !== own)
    .map(([type, value]) => ({ kind: `${type} instead of ${own}`, value }))
}

function badNumbers({ kind, schema }: Field, random: Random): BadValue[] {
  const unreadable = (text: string, kind = `${text} as a number`): BadValue => ({
    kind,
    value: new Json(text),
    below: null,
  })
  const found: BadValue[] = [
    unreadable('NaN'),
    unreadable('Infinity'),
    unreadable(random.pick(['0x10', '07', '+1', '.5', '1.', '1_000', '-']), 'a number that is not JSON'),
    { kind: 'Infinity as 1e400', value: new Json(random.pick(['1e400', '-1e400', '9e999'])) },
  ]
  if (kind === 'percent') {
    found.push(oneOf('a negative percentage', [-1, -0.0001, -100, -1e-300], random))
    found.push(oneOf('a percentage over 100', [101, 100.0001, 1e6, 1e308, 2 ** 53], random))
    found.push(oneOf('more than four decimals', [33.33333, 0.00001, 99.999999, 1e-7, 5e-324], random))
  } else if (kind === 'share') {
    found.push(oneOf('a share out of range', [0, 1, -0.5, 1.0001, 95, 1e308, new Json('-0')], random))
  } else if (kind === 'number') {
    const [least, most] = [
      schema.minimum ?? schema.exclusiveMinimum ?? 0,
      schema.maximum ?? schema.exclusiveMaximum ?? 0,
    ]
    found.push(oneOf('a number below the range', [least - 1, least - Math.abs(least) - 0.5, -1e308], random))
    found.push(oneOf('a number above the range', [most + 1, 2 * most, 1e308], random))
  } else {
    const least = schema.minimum ?? (schema.exclusiveMinimum ?? 0) + 1
    found.push(oneOf('a number below the range', [least - 1, -1, -(2 ** 31), new Json('-0')], random))
    found.push(oneOf('a number above the range', [(schema.maximum ?? 0) + 1, 2 ** 53, 2 ** 64, 1e20, 1e308], random))
    found.push(oneOf('a fraction', [1.5, 0.1, 1.0000001, 1e-7], random))
  }
  return found
}

const nested = (open: string, close: string, levels: number) =>
  new Json(`${open.repeat(levels)}1${close.repeat(levels)}`)

function badJson(field: Field, random: Random): BadValue[] {
  const holding = (kind: string, value: unknown): BadValue => ({ kind, value: { k: value }, below: [] })
  const levels = random.pick([21, 25, 100, 1500])
  const withKey = (kind: string, key: string, value: unknown = 1): BadValue => ({ kind, value: { [key]: value } })
  const found: BadValue[] = [
    holding('a null byte in a JSON value', random.pick(NULS)),
    withKey('a null byte in a key', random.pick(NULS)),
    holding('a lone surrogate in a JSON value', random.pick(SURROGATES)),
    withKey('a lone surrogate in a key', random.pick(SURROGATES)),
    holding('Infinity in a JSON value', new Json('1e400')),
    { kind: 'deep nesting of objects', value: nested('{"k":', '}', levels + 2) },
    { kind: 'deep nesting of arrays', value: new Json(`{"k":${nested('[', ']', levels).text}}`) },
    { kind: 'deep nesting of objects', value: nested('{"k":', '}', 100_000), once: true },
    { kind: 'deep nesting of arrays', value: new Json(`{"k":${nested('[', ']', 100_000).text}}`), once: true },
    ...PROTOTYPES.map((text): BadValue => ({ kind: 'a prototype key', value: new Json(text), below: null })),
  ]
  if (field.kind === 'rules') {
    found.push(holding('a rule that is not a plain value', random.pick([{}, [], ['a'], { $gt: 1 }])))
    found.push(withKey('an empty attribute name', ''), withKey('longer than allowed', 'x'.repeat(random.int(256, 600))))
  }
  return found
}

/** JSON texts with a prototype key, some of them escaped or deep inside. */
export const PROTOTYPES = [
  '{"__proto__":{"polluted":true}}',
  '{"\\u005f_proto__":1}',
  '{"\\u005f\\u005f\\u0070roto\\u005f\\u005f":{"a":1}}',
  '{"constructor":{"prototype":{"polluted":true}}}',
  '{"k":[{"k":{"__proto__":null}}]}',
  '{"k":{"\\u0063onstructor":{"\\u0070rototype":1}}}',
]

function badArrays({ items, schema }: Field, random: Random): BadValue[] {
  if (!items) return []
  const found: BadValue[] = []
  if (schema.minItems) found.push({ kind: 'an empty list', value: [] })
  if (schema.maxItems) found.push({ kind: 'too many items', value: Array(schema.maxItems + 1).fill(1), once: true })
  if (items.kind === 'json') return found
  for (const bad of badValues(items, random))
    found.push({
      ...bad,
      kind: `${bad.kind} (in a list)`,
      value: [bad.value],
      below: bad.below === null ? null : [0, ...(bad.below ?? [])],
    })
  return found
}

/** The limit for a path parameter. A longer URL would be refused before its fields are checked. */
const MAX_PATH_TEXT = 3000

/** Makes bad texts for a field in a query or a path, to be percent-encoded. A path cannot contain all of them. */
export function badTexts(field: Field, random: Random): BadValue[] {
  const inPath = field.in === 'path'
  const texts = (kind: string, values: readonly string[]) => oneOf(kind, withoutKeys(field, values), random)
  const empty: BadValue[] = inPath ? [] : [{ kind: 'an empty value', value: '' }]
  const numbers = [
    ...empty,
    texts('a text that is not a number', ['abc', '7abc', 'true', 'null', '[1]', '{}', '７', '1,2', 'undefined']),
  ]
  const odd = texts('a number in an unusual spelling', [
    '0x10',
    '1e3',
    ' 7',
    '7 ',
    '+7',
    '07',
    '7.',
    '1_0',
    '7\0',
    '\t7',
    '0b1',
  ])
  switch (field.kind) {
    case 'id':
    case 'integer': {
      const over = (field.schema.maximum ?? 0) + 1
      const out = texts('a number out of range', ['0', '-1', '-0', String(over), '9007199254740992', '9'.repeat(400)])
      return [...numbers, odd, out, texts('a fraction', ['1.5', '0.1', '7.5'])]
    }
    case 'percent':
    case 'share': {
      const out = ['-1', '0', '1', '1.0001', '95', '9'.repeat(400)]
      return [
        ...numbers,
        odd,
        texts('a share out of range', out),
        texts('NaN as a number', ['NaN', 'Infinity', '1e400']),
      ]
    }
    case 'boolean':
      return [...empty, texts('a text that is not a boolean', ['yes', '1', '0', 'TRUE', 'False', 'null', ' true'])]
    case 'array': {
      const item = field.items as Field
      return badTexts({ ...item, in: 'query' }, random).map((bad) => ({
        ...bad,
        kind: `${bad.kind} (in a list)`,
        below: [0],
      }))
    }
    default:
      // A path cannot contain an empty text, and no URL can contain a lone surrogate.
      return badValues(field, random).filter(
        ({ kind, value }) =>
          typeof value === 'string' &&
          !kind.startsWith('string') &&
          kind !== 'a lone surrogate' &&
          !(inPath && value === '') &&
          encodeURIComponent(value.toWellFormed()).length <= MAX_PATH_TEXT,
      )
  }
}
