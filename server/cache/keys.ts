/**
 * Makes the keys of the cache. The cache adds the prefix of the database. The number is the version of the entry's
 * format: during an upgrade, old and new processes share one Redis, and each reads only entries of its own format.
 */
export const keys = {
  snapshot: (version: number) => `snapshot:3:${version}`,
  profile: (userId: string) => `profile:3:${userId}`,
  assignments: (userId: string) => `assignments:3:${userId}`,
  apiKey: (hash: string) => `key:2:${hash}`,
}
