import { normalQuantile } from '../../server/statistics/distributions.ts'
import type { Measured } from './scenario.ts'

/** Draws plots as static SVG, without scripts and fonts. */

const [WIDTH, LEFT, ROW, TOP] = [760, 330, 22, 40]
export const COLORS = { right: '#1a7f37', wrong: '#cf222e', shown: '#8250df', axis: '#57606a', grid: '#d0d7de' }

export const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
export const round = (value: number) => Math.round(value * 100) / 100

export function frame(height: number, title: string, content: string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12" role="img" aria-label="${escaped(title)}">`,
    `<rect width="${WIDTH}" height="${height}" fill="white"/>`,
    `<text x="12" y="22" font-size="14" font-weight="bold">${escaped(title)}</text>`,
    ...content,
    '</svg>',
    '',
  ].join('\n')
}

/**
 * Draws each figure as a dot with its 95 % interval, and the stated value as a line.
 * @param range the lowest and the highest share of the axis, in 0..1
 * @param nominal the stated share, in 0..1
 */
export function dotPlot(
  title: string,
  figures: readonly Measured[],
  [low, high]: readonly [number, number],
  nominal: number,
): string {
  const scale = (share: number) =>
    round(LEFT + ((Math.min(high, Math.max(low, share)) - low) / (high - low)) * (WIDTH - LEFT - 30))
  const height = TOP + figures.length * ROW + 34
  const bottom = height - 28
  const z = -normalQuantile(0.025)
  const ticks = Array.from({ length: 6 }, (_, tick) => low + ((high - low) * tick) / 5)
  return frame(height, title, [
    ...ticks.map(
      (tick) =>
        `<line x1="${scale(tick)}" y1="${TOP - 8}" x2="${scale(tick)}" y2="${bottom}" stroke="${COLORS.grid}"/><text x="${scale(tick)}" y="${bottom + 16}" text-anchor="middle" fill="${COLORS.axis}">${round(100 * tick)} %</text>`,
    ),
    `<line x1="${scale(nominal)}" y1="${TOP - 8}" x2="${scale(nominal)}" y2="${bottom}" stroke="${COLORS.axis}" stroke-width="2"/>`,
    ...figures.map(({ method, share, error, expected, isRight }, row) => {
      const y = TOP + row * ROW + 6
      const color = expected.kind === 'shown' ? COLORS.shown : isRight ? COLORS.right : COLORS.wrong
      return `<text x="${LEFT - 12}" y="${y + 4}" text-anchor="end">${escaped(method)}</text><line x1="${scale(share - z * error)}" y1="${y}" x2="${scale(share + z * error)}" y2="${y}" stroke="${color}" stroke-width="2"/><circle cx="${scale(share)}" cy="${y}" r="4" fill="${color}"/>`
    }),
  ])
}

/** Draws, for each method, the share of experiments that raised a false alarm by each look. */
export function alarmsByLook(title: string, lines: readonly { name: string; shares: readonly number[] }[]): string {
  const height = 300
  const [left, bottom, top] = [60, height - 40, 50]
  const looks = Math.max(...lines.map(({ shares }) => shares.length))
  const most = Math.max(0.1, ...lines.flatMap(({ shares }) => shares))
  const x = (look: number) => round(left + (look / looks) * (WIDTH - left - 190))
  const y = (share: number) => round(bottom - (share / most) * (bottom - top))
  const colors = [COLORS.shown, COLORS.right]
  return frame(height, title, [
    ...[0, 0.05, 0.1, 0.2, 0.3, 0.4]
      .filter((share) => share <= most)
      .map(
        (share) =>
          `<line x1="${left}" y1="${y(share)}" x2="${x(looks)}" y2="${y(share)}" stroke="${share === 0.05 ? COLORS.axis : COLORS.grid}"/><text x="${left - 8}" y="${y(share) + 4}" text-anchor="end" fill="${COLORS.axis}">${round(100 * share)} %</text>`,
      ),
    `<text x="${x(looks / 2)}" y="${bottom + 30}" text-anchor="middle" fill="${COLORS.axis}">looks</text>`,
    ...[1, looks / 2, looks].map(
      (look) => `<text x="${x(look)}" y="${bottom + 16}" text-anchor="middle" fill="${COLORS.axis}">${look}</text>`,
    ),
    ...lines.map(({ name, shares }, line) => {
      const points = shares.map((share, look) => `${x(look + 1)},${y(share)}`).join(' ')
      const color = colors[line] ?? COLORS.axis
      return `<polyline points="${points}" fill="none" stroke="${color}" stroke-width="2"/><text x="${x(looks) + 8}" y="${y(shares.at(-1) ?? 0) + 4}" fill="${color}">${escaped(name)}</text>`
    }),
  ])
}
