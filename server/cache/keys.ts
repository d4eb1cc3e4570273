/** Every key of the cache, spelled once; the cache itself puts the database's own prefix before it. */
export const keys = {
  snapshot: (version: number) => `snapshot:${version}`,
  person: (userId: string) => `person:${userId}`,
  assignments: (userId: string) => `assignments:${userId}`,
  apiKey: (hash: string) => `key:${hash}`,
}
