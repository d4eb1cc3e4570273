import pg from 'pg'

/** The calls of one SQL statement, and the time from each call to its answer. */
export type Statement = { text: string; calls: number; milliseconds: number; most: number }

const statements = new Map<string, Statement>()
let isTiming = false

/** Starts to time every statement of this process, and forgets the times so far. */
export function timeStatements() {
  statements.clear()
  if (isTiming) return
  isTiming = true
  const { prototype } = pg.Client
  const query = prototype.query as (...args: unknown[]) => unknown
  prototype.query = function timed(this: pg.Client, ...args: unknown[]) {
    const began = performance.now()
    const answer = query.apply(this, args)
    const note = () => add(textOf(args[0]), performance.now() - began)
    if (answer instanceof Promise) answer.then(note, note)
    return answer
  } as typeof prototype.query
}

const textOf = (query: unknown) =>
  (typeof query === 'string' ? query : ((query as { text?: string }).text ?? '')).replace(/\s+/g, ' ').trim()

function add(text: string, milliseconds: number) {
  const statement = statements.get(text) ?? { text, calls: 0, milliseconds: 0, most: 0 }
  statement.calls++
  statement.milliseconds += milliseconds
  statement.most = Math.max(statement.most, milliseconds)
  statements.set(text, statement)
}

/** Returns the statements since `timeStatements`, the longest first. */
export const readStatements = (): Statement[] =>
  [...statements.values()].sort((one, other) => other.milliseconds - one.milliseconds)
