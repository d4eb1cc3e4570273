/** Where something stands in a rule, such as `['$or', 0, 'country', '$in']`. */
export type Path = readonly (string | number)[]

/** A rule that cannot be meant: what is wrong, and where. */
export class RuleError extends Error {
  readonly path: Path

  constructor(path: Path, message: string) {
    super(message)
    this.name = 'RuleError'
    this.path = path
  }
}
