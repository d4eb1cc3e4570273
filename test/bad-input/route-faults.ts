import { type BadValue, badTexts, badValues, PROTOTYPES } from './bad-values.ts'
import { baseOf } from './base.ts'
import { type BadRequest, Encoded, type Expected, encode, type Input, Json, type Random, requestOf } from './request.ts'
import type { Field, Route } from './routes.ts'
import type { TestData } from './test-data.ts'

/** Makes the bad requests that every route must refuse, by its fields, its body, its URL or its token. */
export type Faults = (route: Route, data: TestData, random: Random, isFirst: boolean) => BadRequest[]

const fresh = (route: Route, data: TestData, random: Random) =>
  baseOf(route, data, random, random.chance(0.5) ? 'least' : 'most')

const bad = (kind: string, status: Expected['status'], request: Omit<BadRequest, 'kind' | 'answer'>): BadRequest => ({
  kind,
  ...request,
  answer: { status },
})

const issueAt = (field: Field, below: readonly (string | number)[] | null | undefined): Pick<Expected, 'issue'> =>
  below === null ? {} : { issue: [field.name, ...(below ?? [])] }

/** Leaves out each required field, and gives each field each bad value. */
export const fieldFaults: Faults = (route, data, random, isFirst) => {
  const found: BadRequest[] = []
  const add = (kind: string, input: Input, answer: Omit<Expected, 'status'>) =>
    found.push({ kind, ...requestOf(route, data.token, input), answer: { status: 400, ...answer } })
  for (const field of route.fields) {
    if (field.required && field.in !== 'path') {
      const { [field.name]: _, ...others } = fresh(route, data, random)
      add('a required field is missing', others, { issue: [field.name] })
    }
    for (const { kind, value, below, once } of field.in === 'body'
      ? badValues(field, random)
      : badTexts(field, random)) {
      if (once && !isFirst) continue
      add(kind, { ...fresh(route, data, random), [field.name]: value }, issueAt(field, below))
    }
    if (field.in === 'query' && field.kind !== 'array') {
      const given = { ...fresh(route, data, random) }
      given[field.name] = random.pick([
        ['1', '2'],
        ['true', 'true'],
        ['a', 'b', 'c'],
      ])
      add('a repeated query parameter', given, { issue: [field.name] })
    }
  }
  return found
}

/** Makes batches of one event with one bad field. Only the event is rejected; the batch is answered 200. */
export const batchFaults = (batch: Route, event: Route, data: TestData, random: Random): BadRequest[] =>
  event.fields.flatMap((field) =>
    badValues(field, random)
      .filter(({ once }) => !once)
      .map(({ kind, value, below }): BadRequest => {
        const item = { ...fresh(event, data, random), [field.name]: value }
        return {
          kind: `${kind} (in a batch)`,
          ...requestOf(batch, data.token, { events: [item] }),
          answer: answerOf(field, kind, below),
        }
      }),
  )

function answerOf(field: Field, kind: string, below: BadValue['below']): Expected {
  if (below !== null) return { status: 200, rejected: true, issue: [field.name, ...(below ?? [])] }
  // Other faults of this kind are no JSON, so that nothing of the batch can be read.
  return kind === 'a prototype key' ? { status: 200, rejected: true } : { status: 400 }
}

const BROKEN_BYTES = [[0xff], [0xc3, 0x28], [0xe2, 0x82], [0xed, 0xa0, 0x80], [0xf8, 0x88, 0x80, 0x80], [0xc0, 0xaf]]
const TYPES = [
  'text/plain',
  'application/x-www-form-urlencoded',
  'multipart/form-data; boundary=x',
  'application/xml',
  'application/jsonx',
  'text/json',
  'application/octet-stream',
  'json',
  '*/*',
]

/** Makes bodies that are unreadable, of another content type, too large or too deeply nested. */
export const bodyFaults: Faults = (route, data, random, isFirst) => {
  if (route.source !== 'body') return []
  const found: BadRequest[] = []
  const request = () => {
    const { body, headers, ...rest } = requestOf(route, data.token, fresh(route, data, random))
    return { ...rest, headers, body: body as string }
  }
  const withBody = (kind: string, status: number, change: (body: string) => string | Buffer) => {
    const base = request()
    found.push(bad(kind, status, { ...base, body: change(base.body) }))
  }
  withBody('truncated JSON', 400, (body) => body.slice(0, random.int(1, body.length - 1)))
  withBody('text after the JSON', 400, (body) => body + random.pick(['x', '}', body, ',{}', '\0']))
  withBody('malformed JSON', 400, (body) =>
    random.pick([
      body.replace(/}$/, ',}'),
      body.replace(/^{/, '{,'),
      body.replace(/^{/, "{'a':1"),
      body.replace(/^{/, '{a:1'),
      body.replace(/^{/, '{/* a comment */'),
      body.replace(/^{/, '{"a":undefined'),
      body.replace(/^{/, '{"a":"\n"'),
      '   ',
      'name=x',
    ]),
  )
  for (const text of ['[]', '[{}]', '"text"', '7', 'null', 'true'])
    withBody(`a body that is ${text[0] === '[' ? 'a list' : text}`, 400, () => text)
  withBody('a body nested too deep', 400, () => '['.repeat(2000) + ']'.repeat(2000))
  withBody('invalid UTF-8', 400, (body) => {
    const bytes = Buffer.from(random.pick(BROKEN_BYTES))
    return Buffer.concat([Buffer.from('{"x":"'), bytes, Buffer.from(body === '{}' ? '"}' : `",${body.slice(1)}`)])
  })
  withBody('a prototype key', 400, (body) => {
    const text = random.pick(PROTOTYPES)
    return body === '{}' ? text : `${text.slice(0, -1)},${body.slice(1)}`
  })
  const { headers, ...untyped } = request()
  const { 'content-type': _, ...others } = headers
  found.push(bad('no content type', 415, { ...untyped, headers: others }))
  const type = random.pick(TYPES)
  found.push(bad('a wrong content type', 415, { ...untyped, headers: { ...others, 'content-type': type } }))
  if (isFirst) {
    const padding = 'x'.repeat(route.bodyLimit)
    withBody('a body over the limit', 413, () => encode({ padding }))
    withBody('a body nested too deep', 400, () => '['.repeat(100_000) + ']'.repeat(100_000))
    if (route.fields.some((field) => field.required && field.in === 'body'))
      withBody('a body nested too deep', 400, () =>
        encode({ a: new Json(`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`) }),
      )
  }
  return found
}

const BROKEN_ENCODINGS = ['%', '%zz', '%F', '%E0%A4%A', '%FF', '%C3%28', '%u0041', 'a%', '%ED%A0%80']
/** Procedures that accept any user id, known or unknown. */
const ANY_USER = ['users.alias', 'assignments.explain', 'assignments.setOverride', 'flags.explain']
const takesAny = (route: Route, { name, kind }: Field) =>
  name === 'event_id' || (ANY_USER.includes(route.procedure) && kind === 'user id')
/** True for an id of something that must exist. Ids that filter a list need not exist. */
const isReference = (route: Route, { name }: Field) => name.endsWith('_id') && !route.list

/** Makes URLs with an invalid percent-encoding, an unknown id or an unknown path. */
export const urlFaults: Faults = (route, data, random) => {
  const found: BadRequest[] = []
  for (const field of route.fields) {
    const base = fresh(route, data, random)
    if (field.in === 'path') {
      const broken = { ...base, [field.name]: new Encoded(random.pick(BROKEN_ENCODINGS)) }
      found.push(bad('bad percent-encoding', 400, requestOf(route, data.token, broken)))
    }
    // A field that accepts any text accepts these texts too.
    if (field.in === 'query' && !['label', 'any text', 'user id', 'array'].includes(field.kind)) {
      const broken = { ...base, [field.name]: new Encoded(random.pick(BROKEN_ENCODINGS)) }
      const request = requestOf(route, data.token, broken)
      found.push({ kind: 'bad percent-encoding', ...request, answer: { status: 400, issue: [field.name] } })
    }
    if (field.in === 'path' && field.kind === 'user id')
      found.push(
        bad(
          'a path over the limit',
          [400, 414],
          requestOf(route, data.token, { ...base, [field.name]: 'x'.repeat(4000) }),
        ),
      )
    if (takesAny(route, field) || !(isReference(route, field) || field.in === 'path')) continue
    const unknown = field.kind === 'user id' ? `nobody-${random.word()}` : random.int(1_000_000, 2 ** 31 - 1)
    // Without attributes in the input, because they would make an unknown user known.
    const input = field.kind === 'user id' ? baseOf(route, data, random, 'least') : base
    const isVariantInBody = field.in === 'body' && field.name.endsWith('variant_id')
    if (isVariantInBody) input.experiment_id ??= data.experiments.running.id
    const isPartOfDefinition = isVariantInBody || field.name === 'holdout_id'
    const request = requestOf(route, data.token, { ...input, [field.name]: unknown })
    found.push({
      kind: 'an unknown id',
      ...request,
      answer: isPartOfDefinition ? { status: 400, issue: [field.name] } : { status: 404 },
    })
  }
  const { path, ...rest } = requestOf(route, data.token, fresh(route, data, random))
  const [bare = '', query] = path.split('?')
  const elsewhere = random.pick([
    `${bare}/nope`,
    `/api/nope${bare}`,
    bare.replace('/api/', '/api//'),
    ANY_USER.includes(route.procedure) ? `${bare}/more` : `${bare}.json`,
    bare.slice(4),
  ])
  found.push(bad('an unknown path', [404, 400, 405], { ...rest, path: query ? `${elsewhere}?${query}` : elsewhere }))
  return found
}

/** Sends no token, a token that is not a key, an invalid key, and a key without the scope. */
export const tokenFaults = (
  route: Route,
  data: TestData,
  random: Random,
  lacking: (route: Route) => readonly string[],
): BadRequest[] => {
  if (!route.keyed) return []
  const { headers, ...rest } = requestOf(route, data.token, fresh(route, data, random))
  const withToken = (kind: string, status: number, authorization: string | undefined): BadRequest => {
    const { authorization: _, ...others } = headers
    return bad(kind, status, { ...rest, headers: authorization === undefined ? others : { ...others, authorization } })
  }
  const garbage = [
    'Bearer',
    'Bearer ',
    'Bearer nonsense',
    `Basic ${data.token}`,
    data.token,
    `Bearer ${data.token}x`,
    `Bearer ${data.token} x`,
    'Bearer exp_',
    `Bearer exp_${'x'.repeat(6000)}`,
    'Bearer exp_\u00e4',
    `Bearer ${data.token.toUpperCase()}`,
    'Bearer null',
  ]
  return [
    withToken('no token', 401, undefined),
    withToken('a garbage token', 401, random.pick(garbage)),
    ...Object.entries(data.tokens).map(([state, token]) =>
      withToken(`a token that is ${state}`, 401, `Bearer ${token}`),
    ),
    withToken('a token of another scope', 403, `Bearer ${data.scopes[random.pick(lacking(route))]}`),
  ]
}
