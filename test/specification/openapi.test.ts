import { readFileSync } from 'node:fs'
import { Validator } from '@seriousme/openapi-schema-validator'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { EXAMPLES } from '../../server/docs/examples.ts'
import { openApiDocument } from '../../server/http/openapi.ts'
import { oneDatabase, openApp, type TestApp } from '../support/app.ts'
import { type Described, type Document, operationsOf, resolve, type Schema, valuesUnder } from './document.ts'
import { operations } from './operations.ts'
import { type Shape, shapes } from './shapes.ts'

const text = readFileSync(new URL('../../openapi.json', import.meta.url), 'utf8')
const document: Document = JSON.parse(text)
const described = new Map(operationsOf(document))

/** Converts a route of the specification, such as `POST /api/users/`, to the form of the document: `POST /users`. */
const routeOf = (route: string) => route.replace(/ \/api/, ' ').replace(/(?<=.)\/$/, '')
const find = (route: string) => described.get(routeOf(route)) as Described
const bodyOf = (operation: Described) =>
  operation.requestBody?.content['application/json'] &&
  resolve(document, operation.requestBody.content['application/json'].schema)

/** Lists the fields of a schema, at every depth, that have no description: neither their own nor their component's. */
function undescribed(schema: Schema, path: string): string[] {
  const { properties = {}, items, anyOf = [], allOf = [] } = resolve(document, schema) as Schema & { allOf?: Schema[] }
  const parts = [...anyOf, ...allOf, ...(items ? [items] : [])]
  return [
    ...Object.entries(properties).flatMap(([name, field]) => [
      ...(isDescribed(field) ? [] : [`${path}.${name}`]),
      ...undescribed(field, `${path}.${name}`),
    ]),
    ...parts.flatMap((part) => undescribed(part, path)),
  ]
}

function isDescribed(field: Schema): boolean {
  const { description, anyOf = [], allOf = [] } = field as Schema & { allOf?: Schema[] }
  const parts = field.$ref ? [resolve(document, field)] : [...anyOf, ...allOf].filter((part) => part.$ref)
  return typeof description === 'string' || parts.some(isDescribed)
}

/** Leaves out the recorded examples, which test/docs/examples.test.ts plays. */
const withoutExamples = (document: unknown): unknown =>
  JSON.parse(JSON.stringify(document), (key, value) => {
    const isRecorded = (key === 'examples' && !Array.isArray(value)) || (key === 'description' && isOfExamples(value))
    return isRecorded ? undefined : value
  })
const isOfExamples = (value: unknown) => typeof value === 'string' && value.startsWith(EXAMPLES)

describe('openapi.json', () => {
  test('is current', () => {
    expect(withoutExamples(document), 'run npm run docs').toEqual(withoutExamples(openApiDocument()))
  })

  test('is valid OpenAPI 3.1', async () => {
    expect(document.openapi).toMatch(/^3\.1\./)
    const validator = new Validator()
    expect(await validator.validate(structuredClone(document))).toEqual({ valid: true })
    expect(validator.version).toBe('3.1')
  })

  test('contains every schema that it refers to', () => {
    for (const reference of valuesUnder('$ref', document))
      expect(() => resolve(document, { $ref: String(reference) })).not.toThrow()
  })

  test('gives its components and operations readable, distinct names', () => {
    expect(Object.keys(document.components.schemas).filter((name) => !/^[A-Z][A-Za-z]+$/.test(name))).toEqual([])
    for (const name of ['ApiKey', 'Experiment', 'Variant', 'Segment', 'User', 'Event', 'Results', 'Winner', 'Error'])
      expect(document.components.schemas).toHaveProperty(name)
    const ids = operationsOf(document).map(([, operation]) => operation.operationId)
    expect(new Set(ids).size).toBe(ids.length)
  })

  test('describes the common shape of errors for every operation', () => {
    const error = document.components.schemas.Error as Schema
    expect(Object.keys(error.properties ?? {})).toEqual(['message', 'code', 'issues'])
    expect(error.required).toEqual(['message', 'code'])
    for (const [route, { responses }] of operationsOf(document))
      for (const [status, response] of Object.entries(responses)) {
        if (status !== '200')
          expect(response.content['application/json'].schema.$ref, `${route} ${status}`).toBe(
            '#/components/schemas/Error',
          )
      }
  })

  test('describes the errors of OFREP in the shape of that protocol', () => {
    for (const [route, { responses }] of operationsOf(document, '/ofrep/v1'))
      for (const [status, { content }] of Object.entries(responses))
        if (Number(status) >= 400)
          expect(content['application/json'].schema.$ref, `${route} ${status}`).toMatch(/OfrepFailure$/)
  })

  test('requires a bearer token for the operations that need one', () => {
    expect(document.components.securitySchemes).toMatchObject({ bearer: { type: 'http', scheme: 'bearer' } })
    for (const [route, { security, responses }] of operationsOf(document)) {
      const optional = / \/auth\//.test(route)
      expect(security, route).toEqual(optional ? [{}, { bearer: [] }] : [{ bearer: [] }])
      expect(responses, route).toHaveProperty('401')
    }
  })

  test('has no bounds that say nothing, no texts of forty digits, and no pattern beside a format', () => {
    expect(text).not.toMatch(/9007199254740991|\d{40}/)
    const schemas = JSON.parse(text, (_key, value) =>
      value !== null && typeof value === 'object' && value.format && value.pattern ? 'both' : value,
    )
    expect(JSON.stringify(schemas)).not.toContain('"both"')
  })

  test('groups all operations by tasks that are described, in the order of the tasks', () => {
    const { tags } = JSON.parse(text) as { tags: { name: string; description: string }[] }
    const names = tags.map(({ name }) => name)
    for (const { description } of tags) expect(description).toMatch(/\.$/)
    const used = operationsOf(document).map(([, { tags }]) => names.indexOf(tags?.[0] ?? ''))
    expect(used).toEqual(used.toSorted((one, other) => one - other))
    expect(used).not.toContain(-1)
  })

  test('gives examples or defaults for the body of each operation', () => {
    for (const { route, body } of operations) {
      if (!body) continue
      const schema = bodyOf(find(route))
      expect([...valuesUnder('examples', schema), ...valuesUnder('default', schema)], route).not.toEqual([])
    }
    for (const examples of valuesUnder('examples', document.components.schemas))
      expect(Array.isArray(examples)).toBe(true)
  })

  test.each(['Results', 'ResultsSeries'])('describes every field of %s: what it is, and in which unit', (name) => {
    expect(undescribed(document.components.schemas[name] as Schema, name)).toEqual([])
  })

  test('requires a body only if one of its fields is required', () => {
    for (const [route, operation] of described)
      if (operation.requestBody?.content['application/json'])
        expect(operation.requestBody.required ?? false, route).toBe((bodyOf(operation)?.required ?? []).length > 0)
  })

  test('describes the body of unassign-experiment, although the method is DELETE', () => {
    const operation = find('DELETE /api/segments/unassign-experiment')
    expect(operation.parameters ?? []).toEqual([])
    expect(operation.requestBody?.required).toBe(true)
    expect(bodyOf(operation)?.required?.toSorted()).toEqual(['experiment_id', 'segment_id'])
  })
})

/** Fields that the specification requires, in place of which a caller may give others. */
const NAMED_OTHERWISE = ['experiment_ids']

describe.each(operations)('$route in openapi.json', ({ route, body, response }) => {
  const operation = find(route)

  test('has a summary, a tag and its path parameters', () => {
    expect(operation).toMatchObject({ summary: expect.any(String), tags: [expect.any(String)] })
    const inPath = operation.parameters?.filter((parameter) => parameter.in === 'path').map(({ name }) => name)
    expect(inPath ?? []).toEqual([...route.matchAll(/\{(\w+)\}/g)].map(([, name]) => name))
  })

  test('accepts every documented field, and requires those that the specification requires', () => {
    const schema = bodyOf(operation)
    for (const [field, type] of Object.entries(body ?? {})) {
      expect(schema?.properties, field).toHaveProperty(field)
      const optional = type.startsWith('Optional[') || type.includes(' = ')
      expect(schema?.required?.includes(field) ?? false, field).toBe(!optional && !NAMED_OTHERWISE.includes(field))
    }
    const others = (schema?.required ?? []).filter((field) => !(field in (body ?? {})))
    expect(others, 'nothing else is required').toEqual([])
  })

  test('always answers every documented field', () => {
    const answer = resolve(document, operation.responses[200]?.content['application/json'].schema as Schema)
    const list = typeof response === 'string' && /^List\[(\w+)\]$/.exec(response)?.[1]
    const one = list ? resolve(document, answer.items as Schema) : answer
    const shape = typeof response === 'string' ? (shapes as Record<string, Shape>)[list || response] : response
    expect(one.required).toEqual(expect.arrayContaining(Object.keys(shape as Shape)))
  })
})

describe('the server', () => {
  let app: TestApp
  beforeAll(async () => {
    app = await openApp(oneDatabase())
  })
  afterAll(() => app?.close())

  test.each(['/api', '/ofrep/v1'])('serves under %s exactly the routes that openapi.json describes', (prefix) => {
    const served = routesOf(app.http)
      .filter((route) => !REFUSED.has(route))
      .filter((route) => route.includes(` ${prefix}/`))
      .map((route) => route.replace(/\/?\*$/, '/:key'))
    expect(document.servers).toEqual([{ url: '/api' }])
    const documented = operationsOf(document, prefix).map(([route]) =>
      route.replace(' ', ` ${prefix}`).replace(/\{(\w+)\}/g, ':$1'),
    )
    expect(served).not.toEqual([])
    expect(served.toSorted()).toEqual(documented.toSorted())
  })

  test('serves the document at /openapi.json', async () => {
    const served = await fetch(`${app.url}/openapi.json`)
    expect(served.headers.get('content-type')).toMatch(/^application\/json/)
    expect(await served.json()).toEqual(document)
  })
})

/** The routes that only answer 405, where the path of an id would take a path of words. */
const REFUSED = new Set([
  ...['GET', 'PUT', 'DELETE'].map((method) => `${method} /api/experiments/check-eligibility`),
  ...['preview', 'assign-user', 'assign-experiment'].flatMap((word) =>
    ['GET', 'PUT', 'DELETE'].map((method) => `${method} /api/segments/${word}`),
  ),
  ...['unassign-user', 'unassign-experiment'].flatMap((word) =>
    ['GET', 'PUT'].map((method) => `${method} /api/segments/${word}`),
  ),
  'DELETE /api/users/alias',
])

/** Lists `METHOD /path` of every route, read from Fastify's printed routes, without the HEAD of each GET. */
function routesOf(http: FastifyInstance): string[] {
  const parts: string[] = []
  return http
    .printRoutes({ commonPrefix: false })
    .split('\n')
    .flatMap((line) => {
      const found = /^([│├└─ ]*)(\S+)(?: \((.+)\))?$/.exec(line)
      if (!found) return []
      const [, indent = '', part = '', methods = ''] = found
      parts.length = indent.length / 4 - 1
      parts.push(part)
      const path = parts.join('').replace(/(?<=.)\/$/, '')
      return methods
        .split(', ')
        .filter((method) => method && method !== 'HEAD')
        .map((method) => `${method} ${path}`)
    })
}
