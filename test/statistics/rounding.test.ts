import fc from 'fast-check'
import { expect, test } from 'vitest'
import { roundTo } from '../../server/statistics/rounding.ts'

/** Rounds by the same rule in whole-number arithmetic: the exact binary value as a fraction, with ties to even. */
function roundExactly(value: number, decimals: number): number {
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, value)
  const bits = view.getBigUint64(0)
  const exponent = Number((bits >> 52n) & 0x7ffn)
  const mantissa = exponent === 0 ? bits & 0xfffffffffffffn : (bits & 0xfffffffffffffn) | (1n << 52n)
  const power = BigInt(Math.max(exponent, 1) - 1075)
  const scaled = mantissa * 10n ** BigInt(decimals)
  const numerator = power >= 0n ? scaled << power : scaled
  const denominator = power >= 0n ? 1n : 1n << -power
  const floor = numerator / denominator
  const twiceRest = 2n * (numerator - floor * denominator)
  const up = twiceRest > denominator || (twiceRest === denominator && floor % 2n === 1n)
  const rounded = Number(`${up ? floor + 1n : floor}e-${decimals}`)
  return value < 0 && rounded > 0 ? -rounded : rounded
}

const decimals = fc.integer({ min: 0, max: 10 })

test('roundTo rounds the exact binary value to the nearest decimal', () => {
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), decimals, (value, decimals) => {
      expect(roundTo(value, decimals)).toBe(roundExactly(value, decimals))
    }),
    { numRuns: 2000 },
  )
})

test('roundTo rounds ties to the even decimal', () => {
  fc.assert(
    fc.property(fc.integer({ min: -1e9, max: 1e9 }), decimals, (odd, decimals) => {
      const tie = (2 * odd + 1) / 2 ** (decimals + 1)
      expect(roundTo(tie, decimals)).toBe(roundExactly(tie, decimals))
    }),
    { numRuns: 2000 },
  )
})

test('roundTo does not treat values as ties that only look like ties', () => {
  fc.assert(
    fc.property(fc.integer({ min: -1e7, max: 1e7 }), (thousandths) => {
      const value = thousandths / 1000
      expect(roundTo(value, 2)).toBe(roundExactly(value, 2))
    }),
    { numRuns: 2000 },
  )
})

test.each([
  [3.125, 2, 3.12],
  [9.375, 2, 9.38],
  [-3.125, 2, -3.12],
  [0.5, 0, 0],
  [1.5, 0, 2],
  [2.5, 0, 2],
  [1.005, 2, 1],
  [2.675, 2, 2.67],
  [1.015, 2, 1.01],
  [99.995, 2, 100],
  [1e21, 2, 1e21],
])('roundTo rounds %d to %d decimals as %d', (value, decimals, rounded) => {
  expect(roundTo(value, decimals)).toBe(rounded)
})

test('roundTo rounds a tiny negative number to 0, not to -0', () => {
  expect(roundTo(-0.001, 2)).toBe(0)
})
