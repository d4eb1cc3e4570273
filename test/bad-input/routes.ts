import { z } from 'zod'
import { restProcedures } from '../../server/http/procedures.ts'

/** The kind of a field's values. Each kind has its own bad values. */
export type Kind =
  | 'id'
  | 'integer'
  | 'percent'
  | 'share'
  | 'number'
  | 'boolean'
  | 'literal'
  | 'enum'
  | 'instant'
  | 'email'
  | 'pattern'
  | 'label'
  | 'text'
  | 'any text'
  | 'user id'
  | 'object'
  | 'rules'
  | 'json'
  | 'array'

export type Field = {
  name: string
  kind: Kind
  required: boolean
  nullable: boolean
  in: 'path' | 'query' | 'body'
  schema: Schema
  /** The items of an array. */
  items?: Field
}

/** A procedure under one HTTP method. */
export type Route = {
  /** The procedure, with its method if it has two: `events.list GET`. */
  name: string
  procedure: string
  method: string
  /** The path with its parameters, such as /api/experiments/{experiment_id}. */
  template: string
  pathFields: readonly string[]
  source: 'body' | 'query'
  fields: Field[]
  keyed: boolean
  list: boolean
  bodyLimit: number
}

export type Schema = {
  readOnly?: boolean
  type?: string | string[]
  anyOf?: Schema[]
  const?: unknown
  enum?: string[]
  format?: string
  pattern?: string
  items?: Schema
  additionalProperties?: Schema
  properties?: Record<string, Schema>
  required?: string[]
  minimum?: number
  exclusiveMinimum?: number
  maximum?: number
  exclusiveMaximum?: number
  maxItems?: number
  minItems?: number
  maxLength?: number
}

const USER_IDS = new Set([
  'user_id',
  'user_ids',
  'alias_id',
  'users.create id',
  'users.list after',
  'users.aliases after',
  'segments.changeMembers add',
  'segments.changeMembers remove',
  'segments.listMembers after',
  'exclusions.list after',
])

function kindOf(procedure: string, name: string, schema: Schema): Kind {
  const isUserId = USER_IDS.has(name) || USER_IDS.has(`${procedure} ${name}`)
  if (schema.const !== undefined) return 'literal'
  if (schema.enum) return 'enum'
  switch (schema.type) {
    case 'boolean':
      return 'boolean'
    case 'integer':
      return name.endsWith('_id') ? 'id' : 'integer'
    case 'number':
      if (schema.maximum === 100) return 'percent'
      return schema.exclusiveMinimum === 0 && schema.exclusiveMaximum === 1 ? 'share' : 'number'
    case 'string':
      if (schema.format === 'date-time') return 'instant'
      if (schema.format === 'idn-email') return 'email'
      if (schema.pattern) return 'pattern'
      if (schema.maxLength === 10_000) return 'text'
      if (schema.maxLength !== undefined) return 'any text'
      return isUserId ? 'user id' : 'label'
    case 'array':
      return 'array'
    case 'object':
      return Object.keys(schema.additionalProperties ?? {}).length > 0 ? 'rules' : 'object'
    case undefined:
      return 'json'
  }
  throw new Error(`${procedure}: there are no bad values for fields such as ${name}: add a kind to routes.ts`)
}

/** The schema without the type null. */
function given(schema: Schema): Schema {
  const others = schema.anyOf?.filter((member) => member.type !== 'null')
  if (others?.length === 1) return others[0] as Schema
  if (!Array.isArray(schema.type)) return schema
  return { ...schema, type: schema.type.find((type) => type !== 'null') }
}

function fieldOf(procedure: string, name: string, whole: Schema, required: boolean, where: Field['in']): Field {
  const schema = given(whole)
  const kind = kindOf(procedure, name, schema)
  const nullable = schema !== whole
  const field: Field = { name, kind, required, nullable, in: where, schema }
  if (kind === 'array') field.items = fieldOf(procedure, name, schema.items ?? {}, true, where)
  return field
}

/** Lists every route with its fields. They come from the procedures, so a new procedure is included automatically. */
export function allRoutes(): Route[] {
  return restProcedures().flatMap(({ name, meta, input, pathFields }) => {
    const schema = z.toJSONSchema(z.object(input.shape), {
      io: 'input',
      unrepresentable: 'any',
    }) as Schema
    const routeBy = (method: string): Route => {
      const source = method === 'GET' ? 'query' : 'body'
      return {
        name: meta.getTwin ? `${name} ${method}` : name,
        procedure: name,
        method,
        template: `/api${meta.openapi.path}`,
        pathFields,
        source,
        // Read-only fields are accepted only as they are stored: see unknown-fields.test.ts.
        fields: Object.entries(schema.properties ?? {})
          .filter(([, { readOnly }]) => !readOnly)
          .map(([field, fieldSchema]) =>
            fieldOf(
              name,
              field,
              fieldSchema,
              schema.required?.includes(field) ?? false,
              pathFields.includes(field) ? 'path' : source,
            ),
          ),
        keyed: meta.access !== 'key management',
        list: meta.list !== undefined,
        bodyLimit: meta.bodyLimit ?? 1024 * 1024,
      }
    }
    return meta.getTwin ? [routeBy(meta.openapi.method), routeBy('GET')] : [routeBy(meta.openapi.method)]
  })
}
