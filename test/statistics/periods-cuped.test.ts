import fc from 'fast-check'
import { expect, test } from 'vitest'
import { cupedMeans } from '../../server/statistics/cuped.ts'
import { stratifiedTest } from '../../server/statistics/periods.ts'
import { stratifiedCuped } from '../../server/statistics/periods-cuped.ts'

const users = fc.array(fc.tuple(fc.integer({ min: -50, max: 200 }), fc.integer({ min: 0, max: 100 })), {
  minLength: 3,
  maxLength: 40,
})
const sumsOf = (rows: readonly (readonly [number, number])[]) => ({
  n: rows.length,
  sumY: rows.reduce((sum, [y]) => sum + y, 0),
  sumSqY: rows.reduce((sum, [y]) => sum + y ** 2, 0),
  sumX: rows.reduce((sum, [, x]) => sum + x, 0),
  sumSqX: rows.reduce((sum, [, x]) => sum + x ** 2, 0),
  sumXY: rows.reduce((sum, [y, x]) => sum + x * y, 0),
})
const close = (value: number | null | undefined) => (value == null ? value : expect.closeTo(value, 8))

test('CUPED over one period equals plain CUPED', () => {
  fc.assert(
    fc.property(users, users, (one, other) => {
      const [control, treatment] = [sumsOf(one), sumsOf(other)]
      const stratified = stratifiedCuped([{ users: one.length + other.length, control, treatment }], 0.95)
      const [plain] = cupedMeans([control, treatment], 0.95).comparisons
      expect(stratified.status).toBe(plain?.status)
      expect(stratified.difference).toEqual(close(plain?.difference))
      expect(stratified.test?.pValue).toEqual(close(plain?.test?.pValue))
      expect(stratified.uplift?.uplift).toEqual(close(plain?.uplift?.uplift))
    }),
    { numRuns: 200, seed: 5 },
  )
})

test('CUPED over periods equals the stratified test if the covariate is constant', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(users, users), { minLength: 1, maxLength: 4 }), (periods) => {
      const rows = periods.map(([one, other]) => ({
        users: one.length + other.length,
        control: sumsOf(one.map(([y]) => [y, 7])),
        treatment: sumsOf(other.map(([y]) => [y, 7])),
      }))
      const plain = rows.map(({ users, control, treatment }) => ({
        users,
        control: { n: control.n, sum: control.sumY, sumSq: control.sumSqY },
        treatment: { n: treatment.n, sum: treatment.sumY, sumSq: treatment.sumSqY },
      }))
      const [adjusted, stratified] = [stratifiedCuped(rows, 0.95), stratifiedTest(plain, 0.95)]
      expect([adjusted.theta, adjusted.status]).toEqual([0, stratified.status])
      expect(adjusted.test?.pValue).toEqual(close(stratified.test?.pValue))
      expect(adjusted.uplift?.fieller?.[0]).toEqual(close(stratified.uplift?.fieller?.[0]))
    }),
    { numRuns: 200, seed: 6 },
  )
})
