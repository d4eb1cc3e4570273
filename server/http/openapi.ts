import { readFileSync } from 'node:fs'
import { generateOpenApiDocument } from 'trpc-openapi'
import { z } from 'zod'
import { appRouter } from '../router.ts'
import { ofrepPaths, ofrepSecuritySchemes } from './ofrep-openapi.ts'
import { type RestProcedure, restProcedures } from './procedures.ts'
import { streamPaths } from './streams-openapi.ts'
import { TAGS } from './tags.ts'

type Schema = { type?: unknown; properties?: Record<string, Schema>; required?: string[]; [key: string]: unknown }
export type Parameter = { name: string; in: string; required?: boolean; schema?: Schema; [key: string]: unknown }
export type Operation = {
  operationId: string
  tags?: string[]
  security?: unknown
  parameters?: Parameter[]
  requestBody?: { required?: boolean; content: Record<string, { schema: Schema }> }
  responses: Record<string, unknown>
  [key: string]: unknown
}
export type Document = {
  servers: { url: string }[]
  tags: { name: string; description: string }[]
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, Schema>; securitySchemes: Record<string, unknown> }
  [key: string]: unknown
}

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))

const DESCRIPTION = `Define experiments, decide which variant each user sees, record events, and read the results.

## Start here

Every operation below has an example, and the examples are one story: send them in the order of their numbers to a new
platform, and each answers as shown here, apart from times and keys. The first nine are a whole experiment:

1. [Create a key](#tag/api-keys/POST/auth/keys) and set it as the bearer token.
2. [Create an experiment](#tag/experiments/POST/experiments); it has a control already.
3. [Give the control half of the traffic](#tag/experiments/POST/experiments/{experiment_id}/variants).
4. Add a treatment by the same call.
5. [Start it](#tag/experiments/POST/experiments/{experiment_id}/start).
6. [Ask which variant a user sees](#tag/assignments/POST/experiments/check-eligibility).
7. [Record what the user did](#tag/events/POST/events).
8. [Upload what many users did](#tag/events/POST/events/import).
9. [Read the results](#tag/results/POST/experiments/{experiment_id}/results).

## Requests and answers

Authenticate with \`Authorization: Bearer <API key>\`. Every path answers with and without a trailing slash. Times are
ISO 8601 in UTC with milliseconds; times in requests may have any offset. Every error has a message and a code; an error
for bad input also has issues, each with the path of a field. An unknown field is an error, too, unless the request says
\`Prefer: handling=lenient\`: the header \`Ignored-Fields\` of the answer then names it. An update accepts the read-only
fields of an answer if they are unchanged.`

const errorSchema: Schema = {
  type: 'object',
  properties: {
    message: { type: 'string' },
    code: { type: 'string', examples: ['BAD_REQUEST'] },
    issues: {
      type: 'array',
      description: 'For bad input: the path of each invalid field and its fault',
      items: {
        type: 'object',
        properties: {
          path: { type: 'array', items: { type: ['string', 'integer'] }, examples: [['percent_allocated']] },
          message: { type: 'string' },
        },
        required: ['path', 'message'],
      },
    },
  },
  required: ['message', 'code'],
}

const ERRORS: Record<number, string> = {
  400: 'Malformed or invalid input',
  401: 'The API key is missing, unknown, inactive or expired',
  403: 'The API key lacks the scope that this operation needs',
  404: 'An object that the request names does not exist',
  409: 'A name, key or email is taken, the status of the object forbids the change, or version is not the current one',
  413: 'The body is too large',
  415: 'The content type is not application/json',
  500: 'Internal server error',
  503: 'The database is unavailable or overloaded: try again after Retry-After seconds',
}

/**
 * Generates the OpenAPI 3.1 document. trpc-openapi makes it from the procedures; this function adds what that generator
 * does not know: bodies of DELETE, GET twins, the shape of errors, and keys that may be left out.
 */
export function openApiDocument(): Document {
  const document = generateOpenApiDocument(appRouter, {
    title: 'Experimentation platform',
    description: DESCRIPTION,
    version,
    baseUrl: '/api',
    paths: { ...ofrepPaths, ...streamPaths },
    securitySchemes: { bearer: { type: 'http', scheme: 'bearer', description: 'An API key from POST /api/auth/keys' } },
  }) as unknown as Document
  for (const name of Object.keys(document.components.schemas))
    if (name.startsWith('error.')) delete document.components.schemas[name]
  document.components.schemas.Error = errorSchema
  for (const procedure of restProcedures()) describe(document, procedure)
  Object.assign(document.components.securitySchemes, ofrepSecuritySchemes)
  document.tags = TAGS
  for (const path of Object.values(document.paths)) Object.values(path).forEach(dropExamples)
  simplify(document)
  return document
}

/** Takes the examples off optional query parameters: readers of the document would fill them in and send them. */
function dropExamples({ parameters = [] }: Operation) {
  for (const { in: place, required, schema } of parameters)
    if (place === 'query' && !required && schema) delete schema.examples
}

/** Texts of these formats need no pattern in the document: readers would make senseless examples from it. */
const FORMATS = ['date-time', 'idn-email']

/** Takes out of all schemas the bounds that zod gives every integer, and patterns that repeat a format. */
function simplify(value: unknown) {
  if (typeof value !== 'object' || value === null) return
  const schema = value as Schema
  if (schema.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum
  if (FORMATS.includes(schema.format as string)) delete schema.pattern
  for (const inner of Object.values(schema)) simplify(inner)
}

function describe(document: Document, procedure: RestProcedure) {
  const { openapi, access, getTwin, formats } = procedure.meta
  const methods = document.paths[openapi.path] as Record<string, Operation>
  const operation = methods[openapi.method.toLowerCase()] as Operation
  operation.operationId = procedure.name
  if (access === 'key management') operation.security = [{}, { bearer: [] }]
  if (openapi.method === 'DELETE') moveQueryToBody(operation)
  const { catchall } = procedure.input._zod.def
  if (catchall && catchall._zod.def.type !== 'never') addFreeBody(operation, procedure.input, catchall)
  nameBody(document, operation, procedure.input.meta()?.id)
  requireBody(document, operation)
  describeErrors(operation, openapi.method)
  if (getTwin) methods.get = twinOf(document, operation)
  if (methods.get && formats) describeFormats(methods.get, formats)
}

/** The generator puts the input of a DELETE into the query; this server reads it from the body. */
function moveQueryToBody(operation: Operation) {
  const fields = operation.parameters?.filter((parameter) => parameter.in === 'query') ?? []
  if (fields.length === 0) return
  operation.parameters = operation.parameters?.filter((parameter) => parameter.in !== 'query')
  operation.requestBody = {
    required: true,
    content: {
      'application/json': {
        schema: {
          type: 'object',
          additionalProperties: false,
          properties: Object.fromEntries(
            fields.map(({ name, schema, description }) => [
              name,
              { ...schema, ...(description ? { description } : {}) },
            ]),
          ),
          required: fields.filter((field) => field.required).map((field) => field.name),
        },
      },
    },
  }
}

/** The generator leaves out the body of an input whose fields may have any name. */
function addFreeBody(operation: Operation, input: RestProcedure['input'], catchall: z.core.$ZodType) {
  const { description, examples } = input.meta() ?? {}
  const { $schema: _, ...additionalProperties } = z.toJSONSchema(catchall, { io: 'input' })
  const schema = { type: 'object', description, examples, additionalProperties }
  operation.requestBody = { content: { 'application/json': { schema } } }
}

/** The generator writes bodies in place; a body with a name becomes a component. */
function nameBody(document: Document, { requestBody }: Operation, name: string | undefined) {
  const content = requestBody?.content['application/json']
  if (!content || !name) return
  document.components.schemas[name] = content.schema
  content.schema = { $ref: `#/components/schemas/${name}` }
}

/** The generator requires a body whenever the path has a parameter. A body is required only if one of its fields is. */
function requireBody(document: Document, operation: Operation) {
  if (operation.requestBody)
    operation.requestBody.required = (bodySchema(document, operation).required ?? []).length > 0
}

/** Returns the schema of a body, also if the body refers to a component. */
function bodySchema(document: Document, { requestBody }: Operation): Schema {
  const given = requestBody?.content['application/json']?.schema ?? {}
  const name = typeof given.$ref === 'string' ? given.$ref.split('/').at(-1) : undefined
  return name ? (document.components.schemas[name] ?? {}) : given
}

function describeErrors(operation: Operation, method: string) {
  const success = operation.responses['200']
  const applies = (status: number) =>
    status === 413 || status === 415 ? method !== 'GET' && operation.requestBody : true
  operation.responses = {
    200: success,
    ...Object.fromEntries(
      Object.entries(ERRORS)
        .filter(([status]) => applies(Number(status)))
        .map(([status, description]) => [
          status,
          {
            description,
            content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
            ...(status === '503'
              ? { headers: { 'Retry-After': { schema: { type: 'integer' }, description: 'Seconds' } } }
              : {}),
          },
        ]),
    ),
  }
}

/** Describes the same operation as a GET: the fields of the body are query parameters, and lists repeat a parameter. */
function twinOf(document: Document, operation: Operation): Operation {
  const { requestBody: _body, ...rest } = structuredClone(operation)
  const schema = structuredClone(bodySchema(document, operation))
  const fields = Object.entries(schema.properties ?? {}).map(([name, field]) => ({
    name,
    in: 'query',
    required: schema.required?.includes(name) ?? false,
    schema: field,
  }))
  const { 413: _large, 415: _type, ...responses } = rest.responses
  return {
    ...rest,
    operationId: `${operation.operationId}.query`,
    parameters: [...(rest.parameters ?? []), ...fields],
    responses,
  }
}

/** Describes the texts that a GET answers instead of JSON if its query has a `format`. */
function describeFormats(operation: Operation, formats: NonNullable<RestProcedure['meta']['formats']>) {
  const values = ['json', ...Object.keys(formats)]
  operation.parameters?.push({
    name: 'format',
    in: 'query',
    required: false,
    description: 'The form of the answer; each has its own content type',
    schema: { type: 'string', enum: values, default: 'json' },
  })
  const { content } = operation.responses['200'] as { content: Record<string, unknown> }
  for (const { contentType } of Object.values(formats)) content[contentType] = { schema: { type: 'string' } }
}
