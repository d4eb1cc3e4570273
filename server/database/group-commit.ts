import { DomainError, unavailable } from '../errors.ts'
import { isDatabaseUnavailable } from './errors.ts'
import { retried } from './retry.ts'

/**
 * Lets requests that arrive together share one transaction. Nobody is answered before it committed. When a group fails,
 * its members are retried one by one, so that a bad one hurts only its sender.
 * @param write stores all items in one transaction and answers one result per item, in their order
 * @param waitMs how long the first of a group waits for company
 * @param weigh how much of a group an item makes up; 1 unless given
 * @param sizeOf the bytes that an item keeps in memory while it waits; 0 unless given
 * @param maxWeight a group's weight at most, unless one item alone weighs more
 * @param maxWaiting the weight that may wait; more is refused (503), so that memory stays bounded
 * @param maxBytes the same in bytes
 * @param concurrency groups under way at once
 */
export function createGroupCommit<Item, Result>(options: {
  write: (items: Item[]) => Promise<Result[]>
  waitMs: number
  weigh?: (item: Item) => number
  sizeOf?: (item: Item) => number
  maxWeight: number
  maxWaiting: number
  maxBytes?: number
  concurrency: number
}) {
  const { weigh = () => 1, sizeOf = () => 0, maxBytes = Number.POSITIVE_INFINITY } = options
  type Waiting = {
    item: Item
    weight: number
    bytes: number
    resolve: (result: Result) => void
    reject: (error: unknown) => void
  }
  const waiting: Waiting[] = []
  let weight = 0
  /** Of those who wait and of those under way: they are in memory alike. */
  let bytes = 0
  let timer: NodeJS.Timeout | undefined
  let underWay = 0
  let idle: (() => void) | undefined

  const schedule = () => {
    if (timer || waiting.length === 0 || underWay >= options.concurrency) return
    timer = setTimeout(flush, weight >= options.maxWeight ? 0 : options.waitMs)
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
    timer = undefined
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
    /** @throws DomainError SERVICE_UNAVAILABLE when too much waits already */
    add: (item: Item): Promise<Result> => {
      const size = sizeOf(item)
      const isFull = weight >= options.maxWaiting || (bytes > 0 && bytes + size > maxBytes)
      if (isFull) throw unavailable('The database cannot keep up; try again soon')
      return new Promise((resolve, reject) => {
        const member = { item, weight: weigh(item), bytes: size, resolve, reject }
        waiting.push(member)
        weight += member.weight
        bytes += size
        schedule()
      })
    },
    /** Resolves when nothing waits and nothing is under way. */
    drained: () =>
      new Promise<void>((resolve) => {
        if (underWay === 0 && waiting.length === 0) resolve()
        else idle = resolve
      }),
  }
}
