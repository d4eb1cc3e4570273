import { createHash, hash } from 'node:crypto'
import type { BenchUser, Decide } from './question.ts'

/** Computes one SHA-256 of the drawn text by one call, as `position` does. This is the least cost of a decision. */
export function sha256InOneShot(users: readonly BenchUser[]): Decide {
  const texts = users.map(({ id }) => `${id}:1`)
  return (user) => hash('sha256', texts[user] as string, 'binary')
}

/** Computes the same SHA-256 through a hash object and hex. */
export function sha256ByObject(users: readonly BenchUser[]): Decide {
  const texts = users.map(({ id }) => `${id}:1`)
  return (user) =>
    createHash('sha256')
      .update(texts[user] as string, 'utf8')
      .digest('hex')
}
