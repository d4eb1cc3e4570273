/**
 * Rounds to the nearest decimal, ties to even: 3.125 gives 3.12, 9.375 gives 9.38. The function rounds the exact binary
 * value: the binary value of 1.005 is slightly smaller than 1.005 and gives 1. The result is never -0. Rounded figures
 * are for presentation only; no decision uses them.
 *
 * `toFixed` rounds the exact binary value, but rounds ties up. A tie is a value whose product with 2^(decimals + 1) is
 * an odd whole number; floating-point rounding does not change this product. If a tie ends in an odd digit, the
 * function lowers this digit by 1, which never borrows.
 * @param decimals digits after the point, 0..100
 * @see ECMA-262, Number.prototype.toFixed; docs/statistics.md, "The simple results answer"
 */
export function roundTo(value: number, decimals: number): number {
  const digits = Math.abs(value).toFixed(decimals)
  const isTie = Math.abs(value * 2 ** (decimals + 1)) % 2 === 1
  const last = Number(digits.at(-1))
  const rounded = Number(isTie && last % 2 === 1 ? digits.slice(0, -1) + (last - 1) : digits)
  return value < 0 && rounded > 0 ? -rounded : rounded
}
