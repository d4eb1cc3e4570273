import { createHash } from 'node:crypto'

/**
 * Computes the digest that is stored with a frozen answer: the SHA-256 of statistics and answer, which both name the
 * version of their engine. The text that is hashed is canonical JSON (keys in ascending order), because PostgreSQL does
 * not keep the order of keys. A later engine, which may compute other figures, checks by the digest that nothing was
 * changed.
 * @returns 64 hexadecimal digits
 */
export const digestOf = ({ statistics, answer }: { statistics: unknown; answer: unknown }): string =>
  createHash('sha256')
    .update(JSON.stringify(canonical({ statistics, answer })))
    .digest('hex')

/** Sorts the keys of all objects. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical)
  if (value === null || typeof value !== 'object') return value
  const entries = Object.entries(value).filter(([, item]) => item !== undefined)
  return Object.fromEntries(
    entries.toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([key, item]) => [key, canonical(item)]),
  )
}
