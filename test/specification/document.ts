/** The parts of an OpenAPI schema that the tests read. */
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
 * Lists every operation with its name `METHOD /path`, where the path is below the server's prefix.
 * @param prefix the document's own, or the prefix of paths that name another server
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

/** Follows references to the schema itself. @throws Error if the document does not contain the schema */
export function resolve(document: Document, schema: Schema): Schema {
  if (!schema.$ref) return schema
  const found = document.components.schemas[schema.$ref.replace('#/components/schemas/', '')]
  if (!found) throw new Error(`The document has no ${schema.$ref}`)
  return resolve(document, found)
}

/** Lists the values of this key anywhere in the document. */
export function valuesUnder(key: string, value: unknown): unknown[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, inner]) => [
    ...(name === key ? [inner] : []),
    ...valuesUnder(key, inner),
  ])
}
