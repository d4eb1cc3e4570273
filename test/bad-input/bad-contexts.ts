import { deflateSync } from 'node:zlib'
import { PROTOTYPES } from './bad-values.ts'
import { encode, Json, type Random } from './request.ts'

/** A body that an evaluation must refuse, its headers, and the protocol's code for the error. */
export type BadContext = {
  kind: string
  body: string | Buffer
  headers: Record<string, string>
  errorCode: 'PARSE_ERROR' | 'INVALID_CONTEXT'
}

const JSON_TYPE = { 'content-type': 'application/json' }
const OTHER_TYPES = [
  'text/plain',
  'application/x-www-form-urlencoded',
  'multipart/form-data; boundary=x',
  'application/octet-stream',
  'text/json',
  'json',
]
const BROKEN_BYTES = [[0xff], [0xc3, 0x28], [0xe2, 0x82], [0xed, 0xa0, 0x80], [0xc0, 0xaf]]
const MIB = 1024 * 1024

/** Makes one round of bad contexts: each kind once. Every round has other values. */
export function badContexts(random: Random): BadContext[] {
  const found: BadContext[] = []
  const unreadable = (kind: string, body: string | Buffer, headers: Record<string, string> = JSON_TYPE) =>
    found.push({ kind, body, headers, errorCode: 'PARSE_ERROR' })
  const invalid = (kind: string, body: unknown) =>
    found.push({ kind, body: encode(body), headers: JSON_TYPE, errorCode: 'INVALID_CONTEXT' })
  const valid = encode({ context: { targetingKey: random.word(), plan: 'gold' } })

  for (const [kind, text] of [
    ['a body that is a list', random.pick(['[]', '[{}]', `[${valid}]`])],
    ['a body that is a text', random.pick(['""', '"context"'])],
    ['a body that is a number', random.pick(['0', '7', '-1.5'])],
    ['a body that is a boolean', random.pick(['true', 'false'])],
    ['truncated JSON', valid.slice(0, random.int(1, valid.length - 1))],
    ['text after the JSON', valid + random.pick(['x', '}', valid, ',{}', '\0'])],
    [
      'malformed JSON',
      random.pick(['{a:1}', "{'a':1}", '{"a":NaN}', '{"a":1,}', '{/**/}', '   ', '{"context":undefined}']),
    ],
    ['a body nested too deep', `${'['.repeat(2000)}${']'.repeat(2000)}`],
  ] as const)
    unreadable(kind, text)
  for (const prototype of PROTOTYPES) unreadable('a prototype key', `{"context":{"targetingKey":"a","k":${prototype}}}`)
  unreadable('a prototype key as the body', random.pick(PROTOTYPES))
  const bytes = Buffer.from(random.pick(BROKEN_BYTES))
  unreadable('broken UTF-8', Buffer.concat([Buffer.from('{"context":{"targetingKey":"'), bytes, Buffer.from('"}}')]))
  unreadable('a body that is not compressed as it says', valid, { ...JSON_TYPE, 'content-encoding': 'gzip' })
  unreadable('a body in an unknown encoding', deflateSync(valid), { ...JSON_TYPE, 'content-encoding': 'deflate' })
  unreadable('no content type', valid, {})
  unreadable('a wrong content type', valid, { 'content-type': random.pick(OTHER_TYPES) })

  for (const [kind, context] of [
    ['a context that is a list', random.pick([[], [{}], ['targetingKey', 'a']])],
    ['a context that is a text', random.pick(['', 'a', '{}'])],
    ['a context that is a number', random.pick([0, 7, -1.5])],
    ['a context that is a boolean', random.chance(0.5)],
  ] as const)
    invalid(kind, { context })
  for (const [kind, targetingKey] of [
    ['a targetingKey that is a number', random.pick([0, 7, 1.5, new Json('1e400')])],
    ['a targetingKey that is a boolean', random.chance(0.5)],
    ['a targetingKey that is a list', random.pick([[], ['a']])],
    ['a targetingKey that is an object', random.pick<object>([{}, { id: 'a' }, { toString: 1 }])],
    ['a targetingKey with a control character', random.pick(['\0', 'a\nb', '\u001f', 'del\u007f'])],
    ['a targetingKey with a lone surrogate', random.pick(['\ud800', 'a\udfff', '\udc00\ud800'])],
    ['a targetingKey that is too long', random.pick(['x', 'ä', '\u{1f600}']).repeat(257 + random.int(0, 9))],
  ] as const)
    invalid(kind, { context: { targetingKey, plan: 'gold' } })
  for (const [kind, value] of badAttributes(random)) {
    const [targetingKey, name] = [random.pick([undefined, null, '', random.word()]), random.word()]
    invalid(kind, { context: { targetingKey, plan: 'gold', [name]: value } })
  }
  return found
}

/** Makes bad contexts that are large, to be sent once. */
export const heavyContexts = (): BadContext[] => {
  const of = (kind: string, context: unknown, errorCode: BadContext['errorCode'] = 'INVALID_CONTEXT'): BadContext => ({
    kind,
    body: encode({ context }),
    headers: JSON_TYPE,
    errorCode,
  })
  const deep = (open: string, close: string) => new Json(`${open.repeat(100_000)}1${close.repeat(100_000)}`)
  return [
    of('a body over the limit', { targetingKey: 'a', padding: 'x'.repeat(MIB) }),
    of('a body over the limit', 'x'.repeat(4 * MIB)),
    of('objects nested very deep', { k: deep('{"k":', '}') }),
    of('lists nested very deep', { k: deep('[', ']') }),
    of('very many values', { k: Array(200_000).fill(0) }),
    of('very many attributes', Object.fromEntries(Array.from({ length: 50_000 }, (_, index) => [`k${index}`, 1]))),
  ]
}

function badAttributes(random: Random): [string, unknown][] {
  const levels = random.pick([21, 25, 100, 1500])
  const nul = random.pick(['\0', 'a\0b'])
  const surrogate = random.pick(['\ud800', 'x\ud83d'])
  const inside = (value: unknown) => random.pick([value, [value], { k: value }, [{ k: [value] }]])
  return [
    ['too many values', Array(2000 + random.int(0, 500)).fill(random.pick([0, null, 'a', true]))],
    ['too many characters', 'x'.repeat(16_385 + random.int(0, 5000))],
    ['too many characters in keys', { ['k'.repeat(16_385)]: 1 }],
    ['objects nested too deep', new Json(`${'{"k":'.repeat(levels)}1${'}'.repeat(levels)}`)],
    ['lists nested too deep', new Json(`${'['.repeat(levels)}${']'.repeat(levels)}`)],
    ['a null byte in a value', inside(nul)],
    ['a null byte in a key', inside({ [nul]: 1 })],
    ['a lone surrogate in a value', inside(surrogate)],
    ['a lone surrogate in a key', inside({ [surrogate]: 1 })],
    ['an infinite number', inside(new Json(random.pick(['1e400', '-1e400'])))],
  ]
}
