import type { Method } from '../../../server/analysis/statistics.ts'
import { COLORS, escaped, frame, round } from '../plots.ts'
import type { Rule, Tally } from './measure.ts'
import { METHOD_NAMES, RULE_NAMES, rowsOf } from './page.ts'
import type { CellResult, GridResults } from './store.ts'

/** Draws the results of the grid as static SVG. */

const [WIDTH, LEFT, RIGHT] = [760, 190, 30]

type Series = { name: string; of: (result: CellResult) => Tally | undefined; isOurs: boolean }
const method = (name: Method): Series => ({
  name: METHOD_NAMES[name],
  of: ({ tally }) => tally.methods[name],
  isOurs: true,
})
const rule = (name: Rule): Series => ({ name: RULE_NAMES[name], of: ({ tally }) => tally.rules[name], isOurs: false })
const METHODS = (Object.keys(METHOD_NAMES) as Method[]).map(method)

const text = (x: number, y: number, content: string, more = '') =>
  `<text x="${round(x)}" y="${round(y)}" ${more}>${escaped(content)}</text>`

/** Draws a dot for the share of false decisions of each cell, one row per method, on a scale of square roots. */
export function falseDecisionsPlot(results: GridResults): string {
  const rows = rowsOf(results, 'named', 'design', 'variances')
  const series = [...METHODS, rule('plain'), rule('growthbook')]
  const [top, step] = [46, 40]
  const bottom = top + series.length * step
  const x = (share: number) => LEFT + Math.sqrt(share) * (WIDTH - LEFT - RIGHT)
  return frame(bottom + 40, 'False decisions without a difference: a dot is a cell of the grid', [
    ...[0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1].map((tick) => {
      const color = tick === 0.05 ? COLORS.axis : COLORS.grid
      return `<line x1="${round(x(tick))}" y1="${top - 8}" x2="${round(x(tick))}" y2="${bottom}" stroke="${color}"/>${text(x(tick), bottom + 16, `${round(100 * tick)} %`, `text-anchor="middle" fill="${COLORS.axis}"`)}`
    }),
    ...series.flatMap(({ name, of, isOurs }, row) => {
      const shares = rows
        .filter(({ cell }) => isOurs || cell.conditions.periods === 1)
        .flatMap(({ result }) => of(result) ?? [])
        .map(({ falseDecisions, runs }) => falseDecisions / runs)
      const y = top + (row + 0.5) * step
      return [
        text(LEFT - 14, y + 4, name, 'text-anchor="end"'),
        ...shares.map((share, index) => {
          const height = y + ((index % 5) - 2) * 5
          return `<circle cx="${round(x(share))}" cy="${round(height)}" r="3.5" fill="${isOurs ? COLORS.right : COLORS.shown}" fill-opacity="0.55"/>`
        }),
      ]
    }),
  ])
}

/** Draws power against the mean users until the decision: a dot for each experiment with an effect and each method. */
export function powerPlot(results: GridResults): string {
  const rows = rowsOf(results, 'effects')
  const series = [rule('plannedTest'), ...METHODS, rule('growthbook')]
  const colors = [COLORS.axis, COLORS.right, '#0969da', '#bc4c00', '#bf8700', COLORS.shown]
  const [left, top, bottom, right] = [60, 50, 330, WIDTH - 225]
  const x = (size: number) => left + (size / 2.5) * (right - left)
  const y = (power: number) => bottom - power * (bottom - top)
  return frame(bottom + 50, 'Power, and mean users until the decision', [
    ...[0, 0.2, 0.4, 0.6, 0.8, 1].map(
      (tick) =>
        `<line x1="${left}" y1="${round(y(tick))}" x2="${right}" y2="${round(y(tick))}" stroke="${tick === 0.8 ? COLORS.axis : COLORS.grid}"/>${text(left - 8, y(tick) + 4, `${round(100 * tick)} %`, `text-anchor="end" fill="${COLORS.axis}"`)}`,
    ),
    ...[0.5, 1, 1.5, 2, 2.5].map((tick) =>
      text(x(tick), bottom + 18, String(tick), `text-anchor="middle" fill="${COLORS.axis}"`),
    ),
    text(
      (left + right) / 2,
      bottom + 38,
      'users, as a multiple of the size of a fixed test',
      `text-anchor="middle" fill="${COLORS.axis}"`,
    ),
    ...series.flatMap(({ name, of }, index) => [
      `<circle cx="${right + 20}" cy="${top + index * 22}" r="5" fill="${colors[index]}"/>`,
      text(right + 32, top + index * 22 + 4, name),
      ...rows.flatMap(({ cell, result }) => {
        const tally = of(result)
        if (!tally) return []
        const size = tally.users / tally.runs / (cell.conditions.plannedUsers ?? 1)
        return [
          `<circle cx="${round(x(size))}" cy="${round(y(tally.rightShips / tally.runs))}" r="5" fill="${colors[index]}" fill-opacity="0.7"><title>${escaped(cell.name)}</title></circle>`,
        ]
      }),
    ]),
  ])
}
