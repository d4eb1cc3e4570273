/** As much of an OpenAPI document as tests ask for. */
export type Schema = {
  $ref?: string
  type?: string | string[]
  properties?: Record<string, Schema>
  required?: string[]
  items?: Schema
  anyOf?: Schema[]
  [key: string]: unknown
}
export type Media = { content: { 'application/json': { schema: Schema } } }
export type Described = {
  operationId: string
  summary?: string
  tags?: string[]
  security?: Record<string, string[]>[]
  parameters?: { name: string; in: string; required?: boolean; schema: Schema }[]
  requestBody?: Media & { required?: boolean }
  responses: Record<string, Media>
}
export type Document = {
  openapi: string
  servers: { url: string }[]
  paths: Record<string, { [method: string]: Described } & { servers?: { url: string }[] }>
  components: { schemas: Record<string, Schema>; securitySchemes: Record<string, unknown> }
}

const METHODS = ['get', 'put', 'post', 'delete', 'patch', 'head', 'options', 'trace']

/**
 * Every operation with `METHOD /path`, the path below the server's prefix.
 * @param prefix the document's own, or that of paths which name another server
 */
export function operationsOf(document: Document, prefix = '/api'): [string, Described][] {
  const prefixOf = ({ servers = document.servers }: { servers?: { url: string }[] }) => servers[0]?.url
  const paths = Object.entries(document.paths).filter(([, methods]) => prefixOf(methods) === prefix)
  return paths.flatMap(([path, methods]) =>
    Object.entries(methods as Record<string, Described>)
      .filter(([method]) => METHODS.includes(method))
      .map(([method, described]): [string, Described] => [`${method.toUpperCase()} ${path}`, described]),
  )
}

/** The schema itself where one is only referred to. */
export function resolve(document: Document, schema: Schema): Schema {
  if (!schema.$ref) return schema
  const found = document.components.schemas[schema.$ref.replace('#/components/schemas/', '')]
  if (!found) throw new Error(`${schema.$ref} leads nowhere`)
  return resolve(document, found)
}

/** Every value anywhere in the document that stands under this key. */
export function valuesUnder(key: string, value: unknown): unknown[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, inner]) => [
    ...(name === key ? [inner] : []),
    ...valuesUnder(key, inner),
  ])
}
