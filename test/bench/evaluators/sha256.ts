import { createHash, hash } from 'node:crypto'
import type { BenchUser, Decide } from './question.ts'

/** Not a decision: what one SHA-256 of the text that is drawn costs, in one shot as `position` takes it. */
export function sha256InOneShot(users: readonly BenchUser[]): Decide {
  const texts = users.map(({ id }) => `${id}:1`)
  return (user) => hash('sha256', texts[user] as string, 'binary')
}

/** The same through a hash object and hex. */
export function sha256ByObject(users: readonly BenchUser[]): Decide {
  const texts = users.map(({ id }) => `${id}:1`)
  return (user) =>
    createHash('sha256')
      .update(texts[user] as string, 'utf8')
      .digest('hex')
}
