import type { Document, Operation, Parameter } from '../http/openapi.ts'
import { type Answer, type Player, type Request, withoutParameters } from './player.ts'
import type { Step } from './story/step.ts'

/** Writes the requests and answers of a story into an OpenAPI document, and reads them from one. */

/** An operation with its place in the document. */
type Place = { prefix: string; path: string; method: string; operation: Operation }

/** The key that the first request of a story makes, as examples show it. */
const FIRST_KEY = 'exp_example_key_1'
/** Begins the description of each operation. No operation has another one. */
export const EXAMPLES = 'Examples:'
const EXAMPLE_NAME = /^call-\d+$/

/** Names the examples of a step. A reader of the document can sort the examples of all operations by it. */
const nameOf = (index: number) => `call-${String(index + 1).padStart(3, '0')}`

function placesOf(document: Document): Map<string, Place> {
  const places = new Map<string, Place>()
  for (const [path, { servers = document.servers, ...methods }] of Object.entries(document.paths)) {
    const [{ url: prefix }] = servers as [{ url: string }]
    for (const [method, operation] of Object.entries(methods))
      places.set(operation.operationId, { prefix, path, method, operation })
  }
  return places
}

/**
 * Plays a story and adds its requests and answers to a document as examples.
 * @throws Error for a request that is not answered with 200, and for operations without an example
 */
export async function addExamples(document: Document, story: readonly Step[], player: Player) {
  const places = placesOf(document)
  for (const [index, told] of story.entries()) {
    const place = places.get(told.operation)
    if (!place) throw new Error(`There is no operation ${told.operation}`)
    // Readers of the document fill in a body of their own where an example has none.
    const step = bodyOf(place.operation) ? { body: {}, ...told } : told
    const answer = await player.play(requestOf(place, step))
    if (answer.status !== 200)
      throw new Error(`${index + 1}. ${step.title}: ${answer.status} ${JSON.stringify(answer.body)}`)
    addExample(place.operation, nameOf(index), step, answer)
  }
  for (const { operation } of places.values()) describeExamples(operation, story)
  orderPaths(document, story)
  const missing = [...places.keys()].filter((name) => !story.some(({ operation }) => operation === name))
  if (missing.length > 0) throw new Error(`The story lacks ${missing.join(', ')}`)
}

/** Orders the paths by their tags and, within a tag, as the story comes to them. */
function orderPaths(document: Document, story: readonly Step[]) {
  const tags = document.tags.map(({ name }) => name)
  const keyOf = (methods: Record<string, Operation>): [number, number] => {
    const operations = Object.values(methods).filter(({ operationId }) => operationId)
    const steps = operations.map(({ operationId }) => story.findIndex(({ operation }) => operation === operationId))
    return [tags.indexOf(operations[0]?.tags?.[0] ?? ''), Math.min(...steps)]
  }
  const paths = Object.entries(document.paths).map(([path, methods]) => ({ path, methods, key: keyOf(methods) }))
  paths.sort(({ key: [tag, step] }, { key: [otherTag, otherStep] }) => tag - otherTag || step - otherStep)
  document.paths = Object.fromEntries(paths.map(({ path, methods }) => [path, methods]))
}

/** Lists the examples of a document in the order of their story, each with its request and the answer it shows. */
export function examplesOf(document: Document): { name: string; title: string; request: Request; answer: Answer }[] {
  return [...placesOf(document).values()]
    .flatMap((place) =>
      Object.entries(successOf(place.operation).content).flatMap(([type, { examples = {} }]) =>
        Object.entries(examples)
          .filter(([name]) => EXAMPLE_NAME.test(name))
          .map(([name, { summary: title, value: body }]) => ({
            name,
            title,
            request: requestOf(place, stepOf(place.operation, name, title)),
            answer: { status: 200, type: withoutParameters(type), body },
          })),
      ),
    )
    .sort((one, other) => one.name.localeCompare(other.name))
}

type Media = { examples?: Record<string, { summary: string; value: unknown }> }
const successOf = (operation: Operation) => operation.responses['200'] as { content: Record<string, Media> }
const bodyOf = ({ requestBody }: Operation) => Object.entries((requestBody?.content ?? {}) as Record<string, Media>)[0]

function requestOf({ prefix, path, method, operation }: Place, step: Step): Request {
  const filled = path.replace(/\{(\w+)\}/g, (_all, name) => encodeURIComponent(String(step.path?.[name])))
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(step.query ?? {}))
    for (const one of [value].flat()) query.append(name, String(one))
  const [type = ''] = bodyOf(operation) ?? []
  const isLines = Array.isArray(step.body)
  return {
    method: method.toUpperCase(),
    url: `${prefix}${filled}${query.size > 0 ? `?${query}` : ''}`,
    headers: {
      ...(needsKey(operation) ? { authorization: `Bearer ${FIRST_KEY}` } : {}),
      ...(step.body ? { 'content-type': type } : {}),
    },
    body: step.body && (isLines ? linesOf(step.body as unknown[]) : JSON.stringify(step.body)),
  }
}

const needsKey = ({ security }: Operation) =>
  Array.isArray(security) && security.length > 0 && security.every((scheme) => Object.keys(scheme).length > 0)
const linesOf = (values: readonly unknown[]) => values.map((value) => `${JSON.stringify(value)}\n`).join('')
const ofLines = (text: string): object[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))

function addExample(operation: Operation, name: string, step: Step, answer: Answer) {
  const add = (media: Media | Parameter | undefined, value: unknown) => {
    if (!media) throw new Error(`${step.operation} has no place for ${JSON.stringify(value)}`)
    media.examples = { ...(media.examples as object), [name]: { summary: step.title, value } }
  }
  for (const [field, value] of Object.entries({ ...step.path, ...step.query }))
    add(
      operation.parameters?.find((parameter) => parameter.name === field),
      value,
    )
  const { body } = step
  if (body) add(bodyOf(operation)?.[1], Array.isArray(body) ? linesOf(body) : body)
  const answers = Object.entries(successOf(operation).content)
  add(answers.find(([type]) => withoutParameters(type) === answer.type)?.[1], answer.body)
}

/** Tells the reader of an operation where its examples stand in the story. */
function describeExamples(operation: Operation, story: readonly Step[]) {
  const numbered = story.map(({ operation, title }, index) => ({ operation, text: `${index + 1}. ${title}` }))
  const own = numbered.filter((step) => step.operation === operation.operationId).map(({ text }) => text)
  operation.description = `${EXAMPLES} ${own.join('; ')}`
}

/** Reads a step back from the examples of its operation. */
function stepOf(operation: Operation, name: string, title: string): Step {
  const valuesIn = (place: string) =>
    Object.fromEntries(
      (operation.parameters ?? [])
        .filter((parameter) => parameter.in === place && exampleIn(parameter as Media, name) !== undefined)
        .map((parameter) => [parameter.name, exampleIn(parameter as Media, name)]),
    )
  const body = exampleIn(bodyOf(operation)?.[1] ?? {}, name)
  return {
    operation: operation.operationId,
    title,
    path: valuesIn('path') as NonNullable<Step['path']>,
    query: valuesIn('query') as NonNullable<Step['query']>,
    ...(body === undefined ? {} : { body: typeof body === 'string' ? ofLines(body) : (body as object) }),
  }
}

const exampleIn = ({ examples }: Media, name: string) => examples?.[name]?.value
