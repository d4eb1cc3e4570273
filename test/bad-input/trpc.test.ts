import { expect, test } from 'vitest'
import { restProcedures } from '../../server/http/procedures.ts'
import { appRouter } from '../../server/router.ts'
import { onOneDatabase } from '../support/app.ts'
import { scaleOf } from '../support/scale.ts'
import { createTally } from './answer.ts'
import { badValues } from './bad-values.ts'
import { baseOf } from './base.ts'
import { dumpTables } from './dump.ts'
import { type BadRequest, createRandom, type Expected, encode, Json, type Random } from './request.ts'
import { allRoutes, type Route } from './routes.ts'
import { createSender } from './send.ts'
import { createTestData, type TestData } from './test-data.ts'

const { size: ROUNDS, seed: SEED } = scaleOf('bad input to tRPC')
/** The content type to check. tRPC sends some errors as text/plain, and its clients read them as JSON anyway. */
const JSON_TYPE = 'application/json'
/** The length of an input that fits into a URL. */
const MAX_QUERY_LENGTH = 4000
const MAX_BYTES = 8 * 1024 * 1024

type Call = { route: Route; type: 'query' | 'mutation' }

const procedures: Record<string, { _def: { type: 'query' | 'mutation' } }> = appRouter._def.procedures as never
const typeOf = (name: string) => procedures[name]?._def.type ?? 'query'

const calls = (): Call[] =>
  restProcedures().map(({ name }) => ({
    type: typeOf(name),
    route: allRoutes().find((route) => route.procedure === name) as Route,
  }))

function* badCalls(data: TestData, random: Random): Generator<BadRequest> {
  const authorization = { authorization: `Bearer ${data.token}` }
  const json = { ...authorization, 'content-type': 'application/json' }
  const call = ({ route, type }: Call, kind: string, input: string, answer: Expected, batch = ''): BadRequest => {
    const path = `/trpc/${route.procedure}${batch}`
    if (type === 'mutation')
      return { kind, route: route.procedure, method: 'POST', path, headers: json, body: input, answer }
    const query = `${batch ? '&' : '?'}input=${encodeURIComponent(input)}`
    return { kind, route: route.procedure, method: 'GET', path: path + query, headers: authorization, answer }
  }
  for (const target of calls()) {
    const { route, type } = target
    const base = () => baseOf(route, data, random, random.chance(0.5) ? 'least' : 'most')
    for (const field of route.fields) {
      if (field.required) {
        const { [field.name]: _, ...others } = base()
        yield call(target, 'a required field is missing', encode(others), { status: 400, issue: [field.name] })
      }
      for (const { kind, value, below } of badValues(field, random)) {
        // `constructor` is harmless here: tRPC treats it as any other key.
        if (value instanceof Json && /onstructor/.test(value.text)) continue
        const input = encode({ ...base(), [field.name]: value })
        if (type === 'query' && encodeURIComponent(input).length > MAX_QUERY_LENGTH) continue
        yield call(
          target,
          kind,
          input,
          below === null ? { status: 400 } : { status: 400, issue: [field.name, ...(below ?? [])] },
        )
      }
    }
    const input = encode(base())
    const isAllOptional = !route.fields.some((field) => field.required)
    for (const text of ['[]', '"text"', '7', 'true', 'null']) {
      if (!isAllOptional) yield call(target, `an input that is ${text}`, text, { status: 400 })
    }
    yield call(target, 'truncated JSON', input.slice(0, Math.max(1, input.length - 2)), { status: 400 })
    if (!isAllOptional) yield call(target, 'fields that the prototype has', `{"__proto__":${input}}`, { status: 400 })
    for (const text of ['[]', 'null', '7', '"0"', '{"0":'])
      yield call(target, 'a malformed batch', text, { status: 400 }, '?batch=1')
    yield {
      ...call(target, 'a method that is not served', input, { status: 405 }),
      method: type === 'query' ? 'PUT' : 'GET',
      headers: json,
    }
    if (type === 'query') continue
    const request = call(target, 'a wrong content type', input, { status: 415 })
    for (const type of ['text/plain', 'multipart/form-data; boundary=x'])
      yield { ...request, headers: { ...authorization, 'content-type': type } }
    const broken = Buffer.concat([Buffer.from('{"x":"'), Buffer.from([0xff, 0xfe]), Buffer.from(`",${input.slice(1)}`)])
    yield { ...request, kind: 'invalid UTF-8', body: broken, answer: { status: 400 } }
  }
  for (const name of [
    'nope',
    'experiments',
    'experiments.nope',
    '__proto__',
    'experiments.__proto__',
    'constructor',
    'experiments.create.call',
  ])
    yield {
      kind: 'an unknown procedure',
      route: '/trpc',
      method: 'GET',
      path: `/trpc/${name}`,
      headers: json,
      answer: { status: 404 },
    }
  const large = { route: '/trpc', method: 'POST', path: '/trpc/experiments.create', body: 'x'.repeat(MAX_BYTES + 1) }
  yield { kind: 'a body over the limit', ...large, headers: json, answer: { status: 413 } }
  const crowd = Array(101).fill('experiments.list').join(',')
  yield {
    kind: 'a batch of too many',
    route: '/trpc',
    method: 'GET',
    path: `/trpc/${crowd}?batch=1`,
    headers: json,
    answer: { status: 400 },
  }
}

onOneDatabase('tRPC on bad input', (app) => {
  test('answers an error in the common shape and changes nothing', async () => {
    const data = await createTestData(app().api)
    const before = await dumpTables(app())
    const sender = createSender(app().url)
    const random = createRandom(SEED)
    const tally = createTally()
    for (let round = 1; round <= ROUNDS; round++)
      await sender.sendAll(badCalls(data, random), (sent, reply) =>
        tally.add(sent, { ...reply, type: JSON_TYPE, body: asRest(reply.body) }),
      )
    sender.close()
    console.log(`/trpc: ${tally.table()}`)
    expect.soft(tally.wrong()).toEqual([])
    expect(await dumpTables(app()), 'the stored rows').toEqual(before)
  }, 120_000)
})

/**
 * Converts the error of a call, or of the first call of a batch, to the shape of the REST API. An error of the request
 * as a whole has this shape already.
 */
function asRest(text: string): string {
  const answer = JSON.parse(text)
  const { error } = Array.isArray(answer) ? answer[0] : answer
  if (!error) return text
  const { message, data } = error
  return JSON.stringify({
    message,
    code: data.code,
    ...(data.issues ? { issues: data.issues } : {}),
    ...(data.stack ? { stack: data.stack } : {}),
  })
}
