/** One request of the story, the example of its operation. */
export type Step = {
  /** The operationId. */
  operation: string
  title: string
  path?: Readonly<Record<string, string | number>>
  query?: Readonly<Record<string, string | number | boolean | readonly string[]>>
  /** The body: JSON, or the lines of an upload. */
  body?: object
}
