import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { pickByPosition, sumPercents } from '../../server/evaluation/allocation.ts'
import { drawText, position, trafficText } from '../../server/evaluation/position.ts'

/** Reference buckets that make-buckets.sh made with sha256sum. */
const buckets = readFileSync(new URL('../fixtures/buckets.txt', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => {
    const [bucket, experiment, ...user] = line.split(' ')
    return { bucket: Number(bucket), experiment: Number(experiment), user: user.join(' ') }
  })

const shares = (...percents: number[]) => percents.map((percentAllocated, id) => ({ id, percentAllocated }))

/**
 * Picks a variant by the rule of the original Python platform: the first one whose cumulative share exceeds the bucket.
 */
function byBucket(percents: number[], bucket: number): number | null {
  let cumulative = 0
  for (const [id, percent] of percents.entries()) {
    cumulative += percent
    if (bucket < cumulative) return id
  }
  return null
}

const userIds = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 64 })
const experimentIds = fc.integer({ min: 1, max: 2_147_483_647 })
/** Shares in whole per cents whose sum is at most 100. */
const wholeShares = fc
  .array(fc.integer({ min: 0, max: 100 }), { minLength: 1, maxLength: 6 })
  .filter((percents) => percents.reduce((sum, percent) => sum + percent, 0) <= 100)

describe('a user’s position', () => {
  test(`has sha256sum's bucket as its whole part, for ${buckets.length} pairs`, () => {
    expect(buckets.length).toBe(3050)
    const wrong = buckets.filter(
      ({ user, experiment, bucket }) => Math.floor(position(drawText(user, experiment, 1, 1))) !== bucket,
    )
    expect(wrong).toEqual([])
  })

  test('gives the variant of the original platform for every allocation in whole per cents', () => {
    fc.assert(
      fc.property(wholeShares, fc.constantFrom(...buckets), (percents, { user, experiment, bucket }) => {
        const drawn = position(drawText(user, experiment, 1, 1))
        expect(pickByPosition(shares(...percents), drawn)?.id ?? null).toBe(byBucket(percents, bucket))
      }),
      { numRuns: 5000 },
    )
  })

  test('is in [0, 100), and the same whenever the text is the same', () => {
    fc.assert(
      fc.property(userIds, experimentIds, (user, experiment) => {
        const drawn = position(drawText(user, experiment, 1, 1))
        expect(drawn).toBeGreaterThanOrEqual(0)
        expect(drawn).toBeLessThan(100)
        expect(position(drawText(user, experiment, 1, 1))).toBe(drawn)
      }),
    )
  })

  test('differs between runs, between periods, and from the position of the traffic draw', () => {
    fc.assert(
      fc.property(userIds, experimentIds, (user, experiment) => {
        const texts = [
          drawText(user, experiment, 1, 1),
          drawText(user, experiment, 2, 1),
          drawText(user, experiment, 1, 2),
          drawText(user, experiment, 2, 2),
          trafficText(user, experiment),
        ]
        expect(new Set(texts.map(position)).size).toBe(texts.length)
      }),
    )
  })

  test('fills fractional shares within binomial bounds', () => {
    const users = 200_000
    const percents = [0.5, 12.3456, 33.3333, 0.0001, 20]
    const counts = percents.map(() => 0)
    let outside = 0
    for (let user = 0; user < users; user++) {
      const picked = pickByPosition(shares(...percents), position(drawText(`fraction_${user}`, 11, 1, 1)))
      if (picked) counts[picked.id] = (counts[picked.id] ?? 0) + 1
      else outside++
    }
    const inBounds = (count: number, share: number) =>
      Math.abs(count - users * share) <= 4.5 * Math.sqrt(users * share * (1 - share)) + 1
    for (const [id, percent] of percents.entries())
      expect(inBounds(counts[id] ?? 0, percent / 100), `share ${percent}`).toBe(true)
    expect(inBounds(outside, 1 - sumPercents(percents) / 100)).toBe(true)
  })
})

describe('allocations', () => {
  test('are summed without rounding errors', () => {
    expect(sumPercents([0.2, 83.9, 15.9])).toBe(100)
    expect(sumPercents([33.3333, 33.3333, 33.3334])).toBe(100)
    expect(sumPercents(Array.from({ length: 1000 }, () => 0.1))).toBe(100)
  })

  test('give no variant to positions beyond their total', () => {
    expect(pickByPosition(shares(10, 20), 29.9999)?.id).toBe(1)
    expect(pickByPosition(shares(10, 20), 30)).toBeNull()
  })
})
