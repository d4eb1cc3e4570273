/**
 * Every key of the cache, spelled once; the cache itself puts the database's own prefix before it. The digit is the
 * entry's shape: during an upgrade old and new processes share a Redis.
 */
export const keys = {
  snapshot: (version: number) => `snapshot:3:${version}`,
  person: (userId: string) => `person:2:${userId}`,
  assignments: (userId: string) => `assignments:2:${userId}`,
  apiKey: (hash: string) => `key:${hash}`,
}
