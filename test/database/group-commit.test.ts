import { describe, expect, test } from 'vitest'
import { createGroupCommit } from '../../server/database/group-commit.ts'

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))
const limits = { waitMs: 2, maxWeight: 10, maxWaiting: 100, concurrency: 1 }

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
