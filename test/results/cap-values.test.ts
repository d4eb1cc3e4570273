import { describe, expect, test } from 'vitest'
import { capValues, type Values } from '../../server/results/cap-values.ts'
import { winsorize } from '../../server/statistics/winsorization.ts'

const NO_COUNTS = { users: 0, exposing: 0, events: 0, unusable: 0, missing: 0 }
/** Makes a variant with users who have these values, and users without. */
const cell = (variant_id: number, num: number[], without = 0, given: Partial<Values> = {}): Values => ({
  ...NO_COUNTS,
  variant_id,
  period: 1,
  n: num.length + without,
  num,
  den: null,
  pre_num: num.map(() => 0),
  pre_den: null,
  ...given,
})
const control = [3, 1, 4, 1, 5, 9, 2, 6, 0]
const treatment = [2, 7, 1, 8, 2, 8, 100, -40, -3, -7]

describe('capped values', () => {
  test.each([
    { cap: 0.8, floor: null },
    { cap: null, floor: 0.1 },
    { cap: 0.9, floor: 0.05 },
  ])('are those of the winsorization by vectors: %j of all users', ({ cap, floor }) => {
    const { caps, sums } = capValues([cell(1, control, 3), cell(2, treatment, 4)], { cap, floor, capOf: 'all' })
    const zeros = (count: number) => Array.from({ length: count }, () => 0)
    const expected = winsorize([control.concat(zeros(3)), treatment.concat(zeros(4))], {
      lower: floor,
      upper: cap,
      ignoreZeros: false,
    })
    expect([caps.outcomeFloor, caps.outcome]).toEqual([expected.lowerCap, expected.upperCap])
    for (const [index, { sum, sumSq, capped }] of expected.variants.entries()) {
      expect([sums[index]?.num, sums[index]?.numNum]).toEqual([expect.closeTo(sum, 9), expect.closeTo(sumSq, 9)])
      expect(caps.capped[index + 1]).toBe(capped)
    }
  })

  test('have a cap at a quantile of the values other than 0 of all variants, however many users have none', () => {
    const given = [cell(1, control, 1000), cell(2, treatment, 10)]
    const { caps, sums } = capValues(given, { cap: 0.9, floor: null, capOf: 'nonzero' })
    const { upperCap } = winsorize([control, treatment], { lower: null, upper: 0.9, ignoreZeros: true })
    expect(caps).toMatchObject({ outcome: upperCap, covariate: null, isZero: false, capped: { 1: 0, 2: 1 } })
    expect(sums.map(({ num }) => num)).toEqual([31, -50 + 28 + (upperCap as number)])
  })

  test('of a ratio keep denominators and cap each covariate at its own quantile', () => {
    const given = cell(1, [1, 2, 30], 2, { den: [1, 2, 3], pre_num: [50, 0, 6], pre_den: [5, 0, 2] })
    const { caps, sums } = capValues([given], { cap: 0.6, floor: null, capOf: 'nonzero' })
    expect([caps.outcome, caps.covariate]).toEqual([2, 50])
    expect(sums[0]).toMatchObject({
      num: 5,
      den: 6,
      preNum: 56,
      preDen: 7,
      numNum: 9,
      numDen: 11,
      denDen: 14,
      numPreNum: 62,
      denPreDen: 11,
      preNumPreNum: 2536,
      preDenPreDen: 29,
    })
  })

  test('raise users without a value to a floor above 0 only where quantiles are of all users', () => {
    const dense = [cell(1, [5, 6, 7, 8, 9, 10, 11, 12, 13], 1)]
    const all = capValues(dense, { cap: null, floor: 0.2, capOf: 'all' })
    expect([all.caps.outcomeFloor, all.sums[0]?.num, all.caps.capped[1]]).toEqual([5, 81 + 5, 1])
    const nonzero = capValues(dense, { cap: null, floor: 0.2, capOf: 'nonzero' })
    expect([nonzero.caps.outcomeFloor, nonzero.sums[0]?.num, nonzero.caps.capped[1]]).toEqual([6, 82, 1])
  })

  test('are not capped at a limit of 0, which is told', () => {
    const { caps, sums } = capValues([cell(1, [10], 99)], { cap: 0.9, floor: 0.1, capOf: 'all' })
    expect(caps).toMatchObject({ outcome: null, outcomeFloor: null, isZero: true })
    expect(sums[0]?.num).toBe(10)
  })

  test('come with the largest uncapped value and the median of those other than 0', () => {
    const { largest } = capValues([cell(1, control, 5), cell(2, treatment)], { cap: 0.5, floor: null, capOf: 'all' })
    expect(largest).toEqual({ value: 100, median: 4 })
    expect(capValues([cell(1, [0, 0], 5)], { cap: 0.5, floor: null, capOf: 'all' }).largest).toBeNull()
  })
})
