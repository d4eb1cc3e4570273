/**
 * Spells every key of the cache once; the cache itself puts the database's own prefix before it. The digit is the
 * entry's shape: during an upgrade old and new processes share a Redis, and neither believes the other's entries.
 */
export const keys = {
  snapshot: (version: number) => `snapshot:3:${version}`,
  profile: (userId: string) => `profile:3:${userId}`,
  assignments: (userId: string) => `assignments:3:${userId}`,
  apiKey: (hash: string) => `key:2:${hash}`,
}
