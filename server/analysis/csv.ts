/** Writes comma-separated values as RFC 4180 prescribes, so that a person can open them in a spreadsheet. */

/** The first characters by which a spreadsheet takes a text for a formula; some ignore white space before them. */
const FORMULA = /^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]/

export type Cell = string | number | boolean | null | undefined

/** Writes lines with a header. */
export const csvText = (header: readonly string[], lines: readonly (readonly Cell[])[]): string =>
  [header, ...lines].map((cells) => `${cells.map(field).join(',')}\r\n`).join('')

/**
 * Writes a field. An apostrophe goes before a text that a spreadsheet would take for a formula; numbers, also negative
 * ones, are unchanged. An absent value is an empty field.
 */
function field(value: Cell): string {
  if (value === null || value === undefined) return ''
  if (typeof value !== 'string') return String(value)
  const text = FORMULA.test(value) ? `'${value}` : value
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
