import { describe, expect, test } from 'vitest'
import { createGroupCommit } from '../../server/database/group-commit.ts'

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))
/** Waits until everything that is scheduled for this turn of the event loop has run. */
const nextTurn = () => new Promise((resolve) => setImmediate(resolve))
const limits = { maxWeight: 10, maxWaiting: 100, concurrency: 1 }

/** Makes a group commit whose writes begin at once and end when `commit` is called. */
function heldUp(options: { waitMs?: number; maxWeight: number; maxWaiting: number; concurrency: number }) {
  const groups: number[][] = []
  const { promise: committed, resolve: commit } = Promise.withResolvers<void>()
  const write = async (items: number[]) => {
    groups.push(items)
    await committed
    return items
  }
  return { groups, commit, group: createGroupCommit<number, number>({ ...options, write }) }
}

describe('a group commit', () => {
  test('writes items that arrive together in order and at once, and answers each with its result', async () => {
    const groups: number[][] = []
    const group = createGroupCommit<number, string>({
      ...limits,
      write: async (items) => {
        groups.push(items)
        await sleep(5)
        return items.map((item) => `stored ${item}`)
      },
    })
    const answers = await Promise.all(Array.from({ length: 25 }, (_, item) => group.add(item)))
    expect(answers).toEqual(Array.from({ length: 25 }, (_, item) => `stored ${item}`))
    expect(groups.flat()).toEqual(Array.from({ length: 25 }, (_, item) => item))
    expect(groups.map((items) => items.length)).toEqual([10, 10, 5])
  })

  test('writes the first item of an idle writer at once, and those that arrive meanwhile as the next group', async () => {
    const { groups, commit, group } = heldUp(limits)
    const answers = [group.add(1)]
    await nextTurn()
    expect(groups).toEqual([[1]])
    for (const item of [2, 3, 4]) {
      answers.push(group.add(item))
      await nextTurn()
    }
    expect(groups).toEqual([[1]])
    commit()
    expect(await Promise.all(answers)).toEqual([1, 2, 3, 4])
    expect(groups).toEqual([[1], [2, 3, 4]])
  })

  test('writes at most `concurrency` groups at the same time, and no group above the largest weight', async () => {
    const { groups, commit, group } = heldUp({ ...limits, maxWeight: 2, concurrency: 2 })
    const answers = [1, 2, 3, 4, 5].map((item) => group.add(item))
    await nextTurn()
    await nextTurn()
    await nextTurn()
    expect(groups).toEqual([
      [1, 2],
      [3, 4],
    ])
    commit()
    await Promise.all(answers)
    expect(groups).toEqual([[1, 2], [3, 4], [5]])
  })

  test('waits for more items before it writes, if it is told to', async () => {
    const { groups, commit, group } = heldUp({ ...limits, waitMs: 50 })
    commit()
    const first = group.add(1)
    await nextTurn()
    expect(groups).toEqual([])
    await Promise.all([first, group.add(2)])
    expect(groups).toEqual([[1, 2]])
  })

  test('writes the items of a failed group one by one, so that a bad item fails only for its sender', async () => {
    const stored: number[] = []
    const group = createGroupCommit<number, number>({
      ...limits,
      write: async (items) => {
        if (items.includes(3)) throw new Error('3 cannot be stored')
        stored.push(...items)
        return items
      },
    })
    const answers = await Promise.allSettled([1, 2, 3, 4].map((item) => group.add(item)))
    expect(answers.map((answer) => answer.status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled'])
    expect(stored).toEqual([1, 2, 4])
  })

  test('rejects all items of a group together when the database is unavailable', async () => {
    let tries = 0
    const group = createGroupCommit<number, number>({
      ...limits,
      write: async () => {
        tries++
        throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
      },
    })
    const answers = await Promise.allSettled([1, 2, 3].map((item) => group.add(item)))
    expect(answers.every((answer) => answer.status === 'rejected')).toBe(true)
    expect(tries).toBe(1)
  })

  test('refuses items beyond the limit, and writes the waiting items before it is drained', async () => {
    let stored = 0
    const group = createGroupCommit<number, number>({
      ...limits,
      write: async (items) => {
        await sleep(1)
        stored += items.length
        return items
      },
    })
    const accepted = Array.from({ length: 100 }, (_, item) => group.add(item))
    expect(() => group.add(101)).toThrow(/Too many writes are waiting/)
    await group.drained()
    expect(stored).toBe(100)
    await Promise.all(accepted)
  })
})
