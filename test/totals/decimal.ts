/** Decimals as whole numbers of their last place: no sum is ever rounded. */

/** How many billionths one is; a value is kept to nine decimals. */
const BILLION = 1_000_000_000n
const LARGEST = 10n ** 12n

type Decimal = { digits: bigint; places: number }

/** @param text as PostgreSQL writes a number: without an exponent */
function read(text: string): Decimal {
  const [whole = '', fraction = ''] = text.split('.')
  return { digits: BigInt(whole + fraction), places: fraction.length }
}

/** In billionths, the last one rounded half away from zero; null where it is further than 1e12 from zero. */
export function billionths(text: string): bigint | null {
  const { digits, places } = read(text)
  const size = digits < 0n ? -digits : digits
  const one = 10n ** BigInt(places)
  if (size > LARGEST * one) return null
  const rounded = (2n * size * BILLION + one) / (2n * one)
  return text.startsWith('-') ? -rounded : rounded
}

/** A number of 10^-`places`, as it is written without needless zeros: 12.5, -3, 0. */
export function write(digits: bigint, places: number): string {
  const text = (digits < 0n ? -digits : digits).toString().padStart(places + 1, '0')
  return plain(`${digits < 0n ? '-' : ''}${text.slice(0, text.length - places)}.${text.slice(text.length - places)}`)
}

/** The same number without needless zeros. */
export function plain(text: string): string {
  const short = text.includes('.') ? text.replace(/\.?0*$/, '') : text
  return short === '-0' ? '0' : short
}
