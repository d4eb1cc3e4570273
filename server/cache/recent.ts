import { LRUCache } from 'lru-cache'

/**
 * Creates a cache of the most recently used entries. Its storage grows with its entries: the library's `max` would
 * reserve the storage of all entries at once, which for the caches of one process takes 0.5 seconds and 70 MB.
 * @param most the most entries; the least recently used go first
 */
export const recentEntries = <Key extends {}, Value extends {}>(
  most: number,
  options: { ttl?: number; noDeleteOnStaleGet?: boolean } = {},
) => new LRUCache<Key, Value>({ maxSize: most, sizeCalculation: () => 1, ...options })
