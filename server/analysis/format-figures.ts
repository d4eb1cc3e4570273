import type { Bounds } from './metric-result.ts'

/** Writes figures for people. A figure is rounded by the width of its interval; a bound is never rounded to 0. */

/** The largest number of decimals. A figure that needs more is written with an exponent. */
const MOST_DECIMALS = 8

/** Computes the decimals at which a width has two significant digits: 0 for 24 and above 10, 1 for 2.4, 3 for 0.024. */
const decimalsFor = (width: number) => Math.max(0, 1 - Math.floor(Math.log10(width) + 1e-9))

const isWidth = (width: number | null | undefined): width is number =>
  width != null && Number.isFinite(width) && width > 0

/** Separates the thousands of a number in decimal notation by commas. */
function grouped(text: string): string {
  const [whole = '', decimals] = text.split('.')
  const separated = whole.replace(/\B(?=(\d{3})+$)/g, ',')
  return decimals === undefined ? separated : `${separated}.${decimals}`
}

type Options = {
  /** The width of the interval of the figure, in the unit of the figure. */
  width?: number | null
  /** Writes + before a positive figure. */
  signed?: boolean
  /** The most significant digits. A figure with more is rounded to them. */
  digits?: number
}

const digitsOf = (text: string) => text.replace(/\D/g, '').replace(/^0+/, '').length

/**
 * Rounds a figure so that the width of its interval has two significant digits: 1,234.5 for a width of 3. Without a
 * width, the figure itself has three significant digits, and whole numbers stay whole.
 */
export function formatFigure(value: number, { width, signed = false, digits = Infinity }: Options = {}): string {
  const decimals = decimalsFor(isWidth(width) ? width : Math.abs(value) / 10 || 10)
  const size = Math.abs(value)
  let text = isWidth(width) || decimals === 0 ? size.toFixed(decimals) : String(Number(size.toFixed(decimals)))
  if (decimals > MOST_DECIMALS || size >= 1e15) text = size === 0 ? '0' : String(Number(size.toPrecision(3)))
  if (digitsOf(text) > digits) text = String(Number(size.toPrecision(digits)))
  const isZero = Number(text) === 0
  const sign = isZero ? '' : value < 0 ? '-' : signed ? '+' : ''
  return sign + grouped(text)
}

/** Writes a share as per cent: 0.042 is "4.2 %". @param width the width of the interval of the share, as a share */
export const formatPercent = (share: number, { width, ...options }: Options = {}): string =>
  `${formatFigure(100 * share, { width: isWidth(width) ? 100 * width : null, ...options })} %`

export const formatCount = (count: number): string => grouped(String(Math.round(count)))

/** Writes a number of users: "1 user", "1,200 users". */
export const formatUsers = (count: number): string => `${formatCount(count)} ${count === 1 ? 'user' : 'users'}`

/**
 * Writes a p-value with four decimals, two from 0.1 on, and "< 0.0001" below that.
 * @param threshold the p-value is written with enough decimals to show on which side of the threshold it lies
 */
export function formatP(pValue: number, threshold?: number): string {
  if (pValue < 1e-4) return '< 0.0001'
  const isBelow = threshold !== undefined && pValue < threshold
  for (let decimals = pValue < 0.0995 ? 4 : 2; ; decimals++) {
    const text = pValue.toFixed(decimals)
    if (threshold === undefined || decimals > MOST_DECIMALS || Number(text) < threshold === isBelow) return text
  }
}

/** Writes "p = 0.0123" or "p < 0.0001". */
export function formatPEquation(pValue: number, threshold?: number): string {
  const text = formatP(pValue, threshold)
  return text.startsWith('<') ? `p ${text}` : `p = ${text}`
}

/** Writes a probability as per cent with one decimal: "97.4 %", "> 99.9 %", "< 0.1 %". */
export function formatProbability(probability: number): string {
  if (probability > 0.999) return '> 99.9 %'
  if (probability < 0.001) return '< 0.1 %'
  return `${(100 * probability).toFixed(1)} %`
}

/** Computes upper - lower; null where a bound is missing. */
export const widthOf = (interval: Bounds | null): number | null =>
  interval?.lower == null || interval.upper == null ? null : interval.upper - interval.lower

/** The most significant digits of a bound in per cent. */
const PERCENT_DIGITS = 3

/**
 * Writes "-1.0 % to +9.4 %" with the given formatter, "+3.5 % or more" with one bound, "unbounded" without bounds. A
 * bound that would be rounded to 0, and is not 0, has as many significant digits as the other bound, and at least two:
 * "+0.18 % to +21 %". Bounds in per cent have at most three.
 */
export function formatInterval(
  interval: Bounds,
  format: (value: number, options: Options) => string,
  signed = true,
): string {
  const { lower, upper } = interval
  const width = widthOf(interval)
  const most = format === formatPercent ? PERCENT_DIGITS : Infinity
  const isHidden = (value: number) => value !== 0 && digitsOf(format(value, { width })) === 0
  const bound = (value: number, digits?: number): string =>
    format(value, isHidden(value) ? { signed, digits } : { width, signed, digits })
  const beside = (value: number, other: number): string => {
    const digits = isHidden(value) ? Math.max(2, digitsOf(format(other, { width }))) : most
    return bound(value, Math.min(most, digits))
  }
  if (lower !== null && upper !== null) return `${beside(lower, upper)} to ${beside(upper, lower)}`
  if (lower !== null) return `${bound(lower)} or more`
  return upper === null ? 'unbounded' : `${bound(upper)} or less`
}

/** Makes a sentence of a clause: a capital letter first, a full stop last. */
export function sentence(clause: string): string {
  const whole = `${clause.slice(0, 1).toUpperCase()}${clause.slice(1)}`
  return /[.!?]$/.test(whole) ? whole : `${whole}.`
}

/** Writes a time in ISO 8601 to the minute: "2026-12-05 08:00 UTC". */
export const formatTime = (time: string): string => `${time.slice(0, 16).replace('T', ' ')} UTC`
