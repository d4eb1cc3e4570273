/**
 * Rounds to the nearest decimal, ties to even: 3.125 gives 3.12, 9.375 gives 9.38. What is rounded is the exact binary
 * value: 1.005 is a little less than it looks and gives 1. Never gives -0. For presentation only; nothing is decided
 * with a rounded figure.
 *
 * `toFixed` is exact on the binary value but takes ties up; a tie is a value whose product with 2^(decimals + 1), which
 * no rounding touches, is an odd whole number. An odd last digit then steps down, which never borrows.
 * @param decimals digits after the point, 0..100
 * @see ECMA-262, Number.prototype.toFixed
 */
export function roundTo(value: number, decimals: number): number {
  const digits = Math.abs(value).toFixed(decimals)
  const isTie = Math.abs(value * 2 ** (decimals + 1)) % 2 === 1
  const last = Number(digits.at(-1))
  const rounded = Number(isTie && last % 2 === 1 ? digits.slice(0, -1) + (last - 1) : digits)
  return value < 0 && rounded > 0 ? -rounded : rounded
}
