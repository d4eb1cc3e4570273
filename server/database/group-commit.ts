import { DomainError, unavailable } from '../errors.ts'
import { isDatabaseUnavailable } from './errors.ts'
import { retried } from './retry.ts'

/**
 * Stores items in groups, each group in one transaction, and answers each caller after the commit. Items that arrive in
 * one turn of the event loop make a group, which is written at once while fewer than `concurrency` groups are under
 * way. Otherwise items wait, and make the next group: the busier the database, the larger the groups, without any
 * timer. When a group fails, its items are stored one by one, so that a bad item fails only for its own caller.
 * @param write stores all items in one transaction and returns one result for each item, in the same order
 * @param waitMs how long a group waits for more items although it could be written; default: 0
 * @param weigh the weight of an item in a group; default: 1
 * @param sizeOf the bytes of memory that an item needs until it is stored; default: 0
 * @param maxWeight the largest weight of a group; an item that weighs more makes a group of its own
 * @param maxWaiting the total weight that may wait; items beyond it are refused (503), so that memory stays bounded
 * @param maxBytes the same limit in bytes, for all items that are not stored yet
 * @param concurrency the number of groups that are stored at the same time
 */
export function createGroupCommit<Item, Result>(options: {
  write: (items: Item[]) => Promise<Result[]>
  waitMs?: number
  weigh?: (item: Item) => number
  sizeOf?: (item: Item) => number
  maxWeight: number
  maxWaiting: number
  maxBytes?: number
  concurrency: number
}) {
  const { waitMs = 0, weigh = () => 1, sizeOf = () => 0, maxBytes = Number.POSITIVE_INFINITY } = options
  type Waiting = {
    item: Item
    weight: number
    bytes: number
    resolve: (result: Result) => void
    reject: (error: unknown) => void
  }
  const waiting: Waiting[] = []
  let weight = 0
  /** The bytes of all items in memory: of those that wait and of those that are being stored. */
  let bytes = 0
  /** True while the flush of the next group is scheduled. */
  let isScheduled = false
  let underWay = 0
  let idle: (() => void) | undefined

  const schedule = () => {
    if (isScheduled || waiting.length === 0 || underWay >= options.concurrency) return
    isScheduled = true
    if (waitMs === 0 || weight >= options.maxWeight) setImmediate(flush)
    else setTimeout(flush, waitMs)
  }

  function takeGroup(): Waiting[] {
    let count = 0
    let taken = 0
    for (const member of waiting) {
      if (count > 0 && taken + member.weight > options.maxWeight) break
      taken += member.weight
      count++
    }
    weight -= taken
    return waiting.splice(0, count)
  }

  async function flush() {
    isScheduled = false
    const group = takeGroup()
    underWay++
    schedule()
    try {
      await commit(group)
    } finally {
      for (const member of group) bytes -= member.bytes
      underWay--
      schedule()
      if (underWay === 0 && waiting.length === 0) idle?.()
    }
  }

  async function commit(group: Waiting[]) {
    try {
      const items = group.map((member) => member.item)
      const results = await (group.length === 1 ? retried(() => options.write(items)) : options.write(items))
      for (const [index, member] of group.entries()) member.resolve(results[index] as Result)
    } catch (error) {
      const [only] = group
      if (group.length === 1 && only) only.reject(error)
      else if (isDatabaseUnavailable(error) || error instanceof DomainError)
        for (const member of group) member.reject(error)
      else for (const member of group) await commit([member])
    }
  }

  return {
    /** @throws DomainError SERVICE_UNAVAILABLE when too many items wait already */
    add: (item: Item): Promise<Result> => {
      const size = sizeOf(item)
      const isFull = weight >= options.maxWaiting || (bytes > 0 && bytes + size > maxBytes)
      if (isFull) throw unavailable('Too many writes are waiting for the database; try again soon')
      return new Promise((resolve, reject) => {
        const member = { item, weight: weigh(item), bytes: size, resolve, reject }
        waiting.push(member)
        weight += member.weight
        bytes += size
        schedule()
      })
    },
    /** Resolves when no item waits and no group is being stored. */
    drained: () =>
      new Promise<void>((resolve) => {
        if (underWay === 0 && waiting.length === 0) resolve()
        else idle = resolve
      }),
  }
}
