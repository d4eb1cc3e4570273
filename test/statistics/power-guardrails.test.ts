import { describe, expect, test } from 'vitest'
import { nonInferiority } from '../../server/statistics/non-inferiority.ts'
import { powerToPass, smallestMargin, usersForPower } from '../../server/statistics/power-guardrails.ts'
import { expectedShareOfSequence } from '../../server/statistics/power-sequential.ts'
import { sequentialMultiplier } from '../../server/statistics/sequential.ts'
import { createRandom } from '../lab/random.ts'

const Z = 1.6448536269514722
const guardrail = { level: 10, sd: 30, margin: { type: 'relative', size: 0.05 }, direction: 'increase' } as const

describe('the power to pass a guardrail', () => {
  test.each([
    ['more is better', guardrail],
    ['less is better', { ...guardrail, direction: 'decrease' } as const],
    ['the margin is absolute', { ...guardrail, margin: { type: 'absolute', size: 0.6 } } as const],
  ])('equals the share of harmless treatments that pass the test, where %s', (_, planned) => {
    const users = { control: 20_000, treatment: 30_000 }
    const { normal } = createRandom(11)
    const RUNS = 20_000
    let passed = 0
    for (let run = 0; run < RUNS; run++) {
      const level = (n: number) => ({ n, level: 10 + (normal() * 30) / Math.sqrt(n), variance: 900 / n })
      const test = nonInferiority(level(users.control), level(users.treatment), planned.margin, planned.direction, 0.95)
      if (test?.isNonInferior) passed++
    }
    const power = powerToPass(planned, users, Z)
    expect(power).toBeGreaterThan(0.5)
    expect(Math.abs(passed / RUNS - power)).toBeLessThan(3 * Math.sqrt((power * (1 - power)) / RUNS))
  })

  test('has no relative margin in reach where the level is lost in noise', () => {
    expect(smallestMargin(guardrail, { control: 20, treatment: 20 }, Z, 0.8)).toBeNull()
    expect(smallestMargin(guardrail, { control: 2000, treatment: 2000 }, Z, 0.8)).toBeGreaterThan(0.05)
  })

  test('is reached by the users that are found for it, or by none', () => {
    const powerAt = (users: number) => powerToPass(guardrail, { control: users / 2, treatment: users / 2 }, Z)
    expect(powerAt(usersForPower(powerAt, 0.8, 1e12) as number)).toBeCloseTo(0.8, 8)
    expect(usersForPower(powerAt, 0.8, 1000)).toBeNull()
  })

  test.each([
    { ...guardrail, sd: 0 },
    { ...guardrail, level: 0 },
    { ...guardrail, margin: { type: 'relative', size: 0 } } as const,
  ])('refuses %j', (wrong) => {
    expect(() => powerToPass(wrong, { control: 10, treatment: 10 }, Z)).toThrow(RangeError)
  })
})

test('the expected users of a confidence sequence equal those of simulated experiments', () => {
  const { normal } = createRandom(12)
  const [RUNS, LOOKS, planned, z] = [20_000, 20, 20_000, 3.8]
  const bounds = Array.from({ length: LOOKS }, (_, look) =>
    sequentialMultiplier((planned * (look + 1)) / LOOKS, 0.95, planned),
  )
  let total = 0
  for (let run = 0; run < RUNS; run++) {
    let score = 0
    let look = 0
    do {
      score += z / LOOKS + normal() / Math.sqrt(LOOKS)
      look++
    } while (look < LOOKS && Math.abs(score) / Math.sqrt(look / LOOKS) < (bounds[look - 1] as number))
    total += look / LOOKS
  }
  expect(Math.abs(total / RUNS - expectedShareOfSequence(z, planned, 0.95, planned))).toBeLessThan(0.008)
})
