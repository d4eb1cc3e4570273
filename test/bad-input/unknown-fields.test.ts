import pLimit from 'p-limit'
import { describe, expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'
import { baseOf } from './base.ts'
import { deepInputs } from './deep-inputs.ts'
import { dumpTables } from './dump.ts'
import { allProcedures, hasFreeNames, type Place, placesOf, sitesOf, withFields } from './places.ts'
import { createRandom, type Input } from './request.ts'
import { allRoutes, type Route } from './routes.ts'
import { createTestData, type TestData } from './test-data.ts'
import { restWays, send, trpcWays, type Way } from './ways.ts'

const AT_ONCE = 8
const LENIENT = { prefer: 'handling=lenient' }
const FAR = 'zq_unheard_of_zq'
/** Names that every object of JavaScript has. */
const INHERITED = ['toString', 'constructor', 'hasOwnProperty']

const random = createRandom(1)
const routes = allRoutes()
const routeOf = (procedure: string) => routes.find((route) => route.procedure === procedure)

const schemaOf = (procedure: string) => {
  const found = allProcedures().find(({ name }) => name === procedure)
  if (!found) throw new Error(`There is no procedure ${procedure}`)
  return found.schema
}

/** Makes valid inputs of a way, which together have every object that its schema has. */
function inputsOf({ procedure }: Way, data: TestData): Input[] {
  const route: Route | undefined = routeOf(procedure)
  return deepInputs(procedure, data).map((more) => {
    const input = { ...(route ? baseOf(route, data, random, 'most') : {}), ...more }
    return Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined))
  })
}

/** The objects of an input that this way can reach: a query has only the fields at the top. */
const placesFor = (way: Way, input: Input): Place[] =>
  placesOf(schemaOf(way.procedure), input).filter(({ path }) => way.source === 'body' || path.length === 0)

/** Misspells a known name by one edit. */
const misspelt = ({ names }: Place): string | undefined =>
  names.map((name) => `${name}${name.at(-1)}`).find((name) => !names.includes(name))

type Fault = { message: string; issues: { path: (string | number)[]; message: string }[] }

/** Reads an error of REST or of tRPC. */
function faultOf(text: string): Fault {
  const { error, message, issues } = JSON.parse(text)
  return error ? { message: error.message, issues: error.data.issues ?? [] } : { message, issues: issues ?? [] }
}

/** Says what is wrong with the answer to an unknown field. @returns null if the answer is right */
function wrongAnswer(answer: { status: number; text: string }, place: Place, name: string): string | null {
  if (answer.status !== 400) return `status ${answer.status}`
  const { message, issues } = faultOf(answer.text)
  const own = issues.find(({ path }) => path.join('.') === [...place.path, name].join('.'))
  if (!own) return `no issue names ${[...place.path, name].join('.')}`
  if (!own.message.startsWith(`unknown field ${name}`)) return `the issue says ${own.message}`
  const prefix = place.path.length > 0 ? `${place.path.join('.')}: ` : ''
  if (message.length < 1000 && !message.includes(`${prefix}${own.message}`)) return 'the message does not say the issue'
  const suggested = /\(did you mean (\S+)\?\)$/.exec(own.message)?.[1]
  if (name === FAR) return suggested === undefined ? null : `suggests ${suggested}`
  if (INHERITED.includes(name)) return null
  return suggested !== undefined && place.names.includes(suggested) ? null : 'suggests nothing'
}

describe('every object of every input', () => {
  test('has fixed fields only, or is free', () => {
    const fixed = allProcedures().filter(({ schema }) => !hasFreeNames(schema))
    for (const { name, schema } of fixed) expect(sitesOf(schema), name).not.toEqual([])
    // The shares of variants are by the names of variants; an unknown one is refused by experiments.setAllocation.
    expect(allProcedures().length - fixed.length).toBe(1)
  })
})

describe.each([
  ['REST', restWays],
  ['tRPC', trpcWays],
])('an unknown field, over %s,', (_kind, waysOf) => {
  onOneDatabase('at every depth of every input', (app) => {
    test('is a 400 that names it and the nearest known name, and changes nothing', async () => {
      const data = await createTestData(app().api)
      const before = await dumpTables(app())
      const wrong: string[] = []
      const limit = pLimit(AT_ONCE)
      const checks: Promise<void>[] = []
      let tried = 0
      for (const way of waysOf(data)) {
        const sendWith = (input: Input, place: Place, fields: Record<string, unknown>) =>
          send(app(), way.request(withFields(input, place.path, fields) as Input))
        const visited = new Set<string>()
        for (const input of inputsOf(way, data))
          for (const place of placesFor(way, input)) {
            if (visited.has(place.site)) continue
            visited.add(place.site)
            const near = misspelt(place)
            // One unknown field alone, then several of which each has to be named.
            for (const names of [near ? [near] : [], [FAR, ...INHERITED]]) {
              const given = way.source === 'body' ? { any: 1 } : 'any'
              const check = async () => {
                const answer = await sendWith(input, place, Object.fromEntries(names.map((name) => [name, given])))
                for (const name of names) {
                  const fault = wrongAnswer(answer, place, name)
                  if (fault) wrong.push(`${way.name} ${place.site} ${name}: ${fault}: ${answer.text.slice(0, 300)}`)
                }
              }
              tried += names.length
              if (names.length > 0) checks.push(limit(check))
            }
            for (const name of place.readOnly) {
              if (name === 'last_used_at' || (way.procedure === 'metrics.setOfExperiment' && name === 'status'))
                continue
              const check = async () => {
                const answer = await sendWith(input, place, { [name]: 'other' })
                const { issues = [] } = faultOf(answer.text)
                const isNamed = issues.some(
                  ({ path, message }) =>
                    path.join('.') === [...place.path, name].join('.') &&
                    message.startsWith('cannot be changed here: '),
                )
                if (answer.status !== 400 || !isNamed) wrong.push(`${way.name} ${name}: ${answer.text.slice(0, 300)}`)
              }
              tried++
              checks.push(limit(check))
            }
          }
        if (way.source === 'body')
          for (const site of sitesOf(schemaOf(way.procedure)))
            if (!visited.has(site)) wrong.push(`${way.name}: no input has an object at ${site}`)
      }
      await Promise.all(checks)
      expect(wrong).toEqual([])
      expect(tried).toBeGreaterThan(600)
      expect(await dumpTables(app()), 'the stored rows').toEqual(before)
    }, 300_000)

    test('is ignored with Prefer: handling=lenient, and so are changed read-only fields', async () => {
      let data = await createTestData(app().api)
      const wrong: string[] = []
      for (const { name } of waysOf(data)) {
        const way = () => waysOf(data).find((candidate) => candidate.name === name) as Way
        const count = inputsOf(way(), data).length
        for (let index = 0; index < count; index++) {
          const lenient = () => {
            const input = inputsOf(way(), data)[index] as Input
            const extended = placesFor(way(), input).reduce<unknown>((whole, place) => {
              const others = [FAR, ...INHERITED, ...place.readOnly, misspelt(place) ?? FAR]
              return withFields(whole, place.path, Object.fromEntries(others.map((other) => [other, 'other'])))
            }, input)
            return send(app(), way().request(extended as Input), LENIENT)
          }
          let answer = await lenient()
          if (answer.status !== 200) {
            // An earlier request may have deleted or changed what this one needs.
            data = await createTestData(app().api)
            answer = await lenient()
          }
          const applied = answer.headers.get('preference-applied')
          if (answer.status !== 200 || applied !== 'handling=lenient')
            wrong.push(`${name}: ${answer.status}, Preference-Applied ${applied}: ${answer.text.slice(0, 300)}`)
        }
      }
      expect(wrong).toEqual([])
    }, 300_000)
  })
})

onOneDatabase('a lenient request', (app) => {
  const lenient = (method: string, path: string, body?: object) =>
    fetch(`${app().url}${path}`, {
      method,
      headers: { ...LENIENT, authorization: `Bearer ${app().api.token}`, 'content-type': 'application/json' },
      ...(body ? { body: JSON.stringify(body) } : {}),
    })

  test('is told which fields were ignored, by their paths', async () => {
    const prior = { mean: 0, sd: 0.1, colour: 'red', 'é, b': 1 }
    const definition = { type: 'count', event_type: 'view', prior }
    const created = await lenient('POST', '/api/metrics', { name: 'lenient', definition, planet: 'earth' })
    expect(created.status).toBe(200)
    expect(created.headers.get('ignored-fields')).toBe(
      'planet, definition.prior.colour, definition.prior.%C3%A9%2C%20b',
    )
    const listed = await lenient('GET', '/api/flags?colour=red')
    expect([listed.status, listed.headers.get('ignored-fields')]).toEqual([200, 'colour'])
    const many = Object.fromEntries(Array.from({ length: 25 }, (_, index) => [`unheard_of_${index}`, 1]))
    const previewed = await lenient('POST', '/api/segments/preview', { rules: {}, ...many })
    expect(previewed.headers.get('ignored-fields')).toMatch(/^unheard_of_0, .*, unheard_of_19, \+5$/)
    expect((await lenient('GET', '/api/flags')).headers.get('ignored-fields')).toBeNull()
    const called = await lenient('POST', '/trpc/segments.preview', { rules: {}, colour: 'green' })
    expect([called.status, called.headers.get('ignored-fields')]).toEqual([200, 'colour'])
  })

  test('is told of an unknown field of a rule, too, and of a misspelt one, which a flag without it may be on for everybody', async () => {
    const rule = { when: { plan: 'gold' }, conditions: { plan: 'gold' }, value: true }
    const flag = { key: 'lenient-rules', type: 'boolean', default_value: false, rules: [rule] }
    const created = await lenient('POST', '/api/flags', flag)
    expect(created.status).toBe(200)
    expect(created.headers.get('ignored-fields')).toBe('rules.0.when, rules.0.conditions')
  })
})
