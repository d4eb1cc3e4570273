import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import { invalid } from '../errors.ts'
import { isDigits } from './reference-schema.ts'

/** Derives keys from names, and refuses keys that a path could take for something else. */

/** The words that stand in paths where a key could stand, now or in the dashboard. */
export const PATH_WORDS: ReadonlySet<string> = new Set([
  'new',
  'overview',
  'check-eligibility',
  'preview',
  'assign-user',
  'unassign-user',
  'assign-experiment',
  'unassign-experiment',
  'evaluate',
  'explain',
])

/** @throws DomainError BAD_REQUEST for a new key of digits alone, which mean an id, or for a word of a path */
export function expectUsableKey(key: string) {
  if (isDigits(key)) throw invalid(`${key} would be taken for an id: choose a key with a letter`, 'key')
  if (PATH_WORDS.has(key)) throw invalid(`${key} is a word of the paths of this API: choose another key`, 'key')
}

/** Turns a name into lower case with hyphens. @param kind the result, or its beginning, if the name gives no usable key */
function slugOf(name: string, kind: string): string {
  const slug = name
    .normalize('NFKD')
    .replace(/\p{M}+/gu, '')
    .toLowerCase()
    .replace(/[^a-z0-9_-]+/g, '-')
    .replace(/^[-_]+|-+$/g, '')
    .slice(0, 90)
  if (slug === '') return kind
  return isDigits(slug) || PATH_WORDS.has(slug) ? `${kind}-${slug}` : slug
}

/** The tables whose keys must be free. Experiments share the keys of flags. */
type KeyTable = 'evaluation_keys' | 'metrics' | 'segments' | 'layers'

/**
 * Derives a free, URL-safe key from a name. A key that is taken gets the suffix -2, -3 and so on.
 * @param kind what is named, such as `experiment`
 */
export async function deriveKey(em: EntityManager, table: KeyTable, kind: string, name: string): Promise<string> {
  const slug = slugOf(name, kind)
  const rows = await execute(
    em,
    sql<{ key: string }>`select t.key from ${sql.table(table)} t where starts_with(t.key, ${slug})`,
  )
  const taken = new Set(rows.map(({ key }) => key))
  for (let suffix = 1; ; suffix++) {
    const key = suffix === 1 ? slug : `${slug}-${suffix}`
    if (!taken.has(key)) return key
  }
}
