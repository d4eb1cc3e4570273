/** Writes Markdown (CommonMark with GitHub's tables) in which the names of users cannot change the layout. */

/** Characters that may begin markup anywhere in a line. */
const SPECIAL = /[\\`*[\]|~$]|<(?=[a-z/!?])|&(?=[#a-z])|(?<![\p{L}\p{N}])_|_(?![\p{L}\p{N}])/giu
/** Characters that begin a heading, a list, a quotation or a rule at the beginning of a line. */
const BEGINNING = /^(?:([#+>=-])|(\d+)([.)])(?!\S))/

/** Escapes a text for use within a line. Line breaks and other control characters become spaces. */
export const inline = (text: string): string =>
  text
    .replace(/[\p{Cc}\u2028\u2029]+/gu, ' ')
    .trim()
    .replace(SPECIAL, '\\$&')

/** Escapes a text that begins a line or an item of a list. */
export const line = (text: string): string =>
  inline(text).replace(BEGINNING, (_, mark: string | undefined, number: string, dot: string) =>
    mark ? `\\${mark}` : `${number}\\${dot}`,
  )

export const bullets = (items: readonly string[]): string => items.map((item) => `- ${item}`).join('\n')

/**
 * Writes a table. Cells must be escaped already. Columns that hold nothing but empty cells are left out.
 * @param columns the heading of each column, and its alignment
 */
export function table(columns: readonly (readonly [string, 'left' | 'right'])[], rows: readonly string[][]): string {
  const kept = columns.map((_, index) => rows.some((row) => (row[index] ?? '') !== ''))
  const written = (cells: readonly string[]) => `| ${cells.filter((_, index) => kept[index]).join(' | ')} |`
  return [
    written(columns.map(([heading]) => heading)),
    written(columns.map(([, side]) => (side === 'right' ? '---:' : '---'))),
    ...rows.map(written),
  ].join('\n')
}
