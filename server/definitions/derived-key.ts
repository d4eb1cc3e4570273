/** Turns a name into lower case with hyphens. @param otherwise the result if no character of the name is left */
export const slugOf = (name: string, otherwise: string): string =>
  name
    .normalize('NFKD')
    .replace(/\p{M}+/gu, '')
    .toLowerCase()
    .replace(/[^a-z0-9_-]+/g, '-')
    .replace(/^[-_]+|-+$/g, '')
    .slice(0, 90) || otherwise

/** Makes the filter that finds all keys that begin with a slug. */
export const likeKey = (slug: string) => ({ key: { $like: `${slug.replace(/_/g, '\\_')}%` } })

/** Finds a free key: the slug, or the slug with -2, -3 and so on if it is taken. */
export function freeKey(slug: string, taken: readonly { key: string }[]): string {
  const keys = new Set(taken.map(({ key }) => key))
  for (let suffix = 1; ; suffix++) {
    const key = suffix === 1 ? slug : `${slug}-${suffix}`
    if (!keys.has(key)) return key
  }
}
