/** Computes with decimals as integers, so that no sum is rounded. */

/** The number of billionths in 1. Totals keep values to nine decimals. */
const BILLION = 1_000_000_000n
const LARGEST = 10n ** 12n

type Decimal = { digits: bigint; places: number }

/** @param text as PostgreSQL writes a number: without an exponent */
function read(text: string): Decimal {
  const [whole = '', fraction = ''] = text.split('.')
  return { digits: BigInt(whole + fraction), places: fraction.length }
}

/** Converts a number to billionths, rounded half away from zero; null where the number is beyond -1e12 to 1e12. */
export function billionths(text: string): bigint | null {
  const { digits, places } = read(text)
  const size = digits < 0n ? -digits : digits
  const one = 10n ** BigInt(places)
  if (size > LARGEST * one) return null
  const rounded = (2n * size * BILLION + one) / (2n * one)
  return text.startsWith('-') ? -rounded : rounded
}

/** Writes an integer of 10^-`places` as a decimal without trailing zeros: 12.5, -3, 0. */
export function write(digits: bigint, places: number): string {
  const text = (digits < 0n ? -digits : digits).toString().padStart(places + 1, '0')
  return plain(`${digits < 0n ? '-' : ''}${text.slice(0, text.length - places)}.${text.slice(text.length - places)}`)
}

/** Removes trailing zeros. */
export function plain(text: string): string {
  const short = text.includes('.') ? text.replace(/\.?0*$/, '') : text
  return short === '-0' ? '0' : short
}
