/** The path of a key or list item in a rule, such as `['$or', 0, 'country', '$in']`. */
export type Path = readonly (string | number)[]

/** A rule that is refused: the message says what is wrong, the path says at which key. */
export class RuleError extends Error {
  readonly path: Path

  constructor(path: Path, message: string) {
    super(message)
    this.name = 'RuleError'
    this.path = path
  }
}

const MAX_SHOWN = 60

/** Writes a JSON value for an error message, cut after 60 characters. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value)
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text
}

/** An error that shows the value that came and what is accepted. @param accepted such as `a list` */
export const refusal = (path: Path, value: unknown, accepted: string): RuleError =>
  new RuleError(path, `${shown(value)} is not ${accepted}`)
