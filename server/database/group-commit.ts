import { DomainError, unavailable } from '../errors.ts'
import { isDatabaseAway } from './errors.ts'
import { retried } from './retry.ts'

/**
 * Lets requests that arrive together share one transaction. Nobody is answered before it committed. When a group fails,
 * its members are retried one by one, so that a bad one hurts only its sender.
 * @param write stores all items in one transaction and answers one result per item, in their order
 * @param waitMs how long the first of a group waits for company
 * @param maxItems a group's size at most
 * @param maxWaiting items that may wait; more are refused (503), so that memory stays bounded
 * @param concurrency groups under way at once
 */
export function createGroupCommit<Item, Result>(options: {
  write: (items: Item[]) => Promise<Result[]>
  waitMs: number
  maxItems: number
  maxWaiting: number
  concurrency: number
}) {
  type Waiting = { item: Item; resolve: (result: Result) => void; reject: (error: unknown) => void }
  const waiting: Waiting[] = []
  let timer: NodeJS.Timeout | undefined
  let underWay = 0
  let idle: (() => void) | undefined

  const schedule = () => {
    if (timer || waiting.length === 0 || underWay >= options.concurrency) return
    timer = setTimeout(flush, waiting.length >= options.maxItems ? 0 : options.waitMs)
  }

  async function flush() {
    timer = undefined
    const group = waiting.splice(0, options.maxItems)
    underWay++
    schedule()
    try {
      await commit(group)
    } finally {
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
      else if (isDatabaseAway(error) || error instanceof DomainError) for (const member of group) member.reject(error)
      else for (const member of group) await commit([member])
    }
  }

  return {
    /** @throws DomainError SERVICE_UNAVAILABLE when too many wait already */
    add: (item: Item): Promise<Result> => {
      if (waiting.length >= options.maxWaiting) throw unavailable('The database cannot keep up; try again soon')
      return new Promise((resolve, reject) => {
        waiting.push({ item, resolve, reject })
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
