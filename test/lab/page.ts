import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { gridSection } from './grid/page.ts'
import { falseDecisionsPlot, powerPlot } from './grid/plots.ts'
import { type GridResults, readResults } from './grid/store.ts'
import { alarmsOverLooks, scenarios } from './laboratory.ts'
import { alarmsByLook, dotPlot } from './plots.ts'
import type { Expectation, Measured } from './scenario.ts'

/** Writes docs/laboratory.md and its plots. */

const DOCS = new URL('../../docs/', import.meta.url)

export const percent = (share: number) => `${(100 * share).toFixed(2)} %`

/** Puts the stated value of a share into words. */
export function stated(expected: Expectation): string {
  if (expected.kind === 'shown') return 'shown for comparison'
  const value = `${100 * expected.value} %`
  return expected.kind === 'exactly' ? value : `${expected.kind} ${value}`
}

const [GRID_START, GRID_END] = ['<!-- The grid starts here. -->', '<!-- The grid ends here. -->']
const gridLines = (results: GridResults | null) => [
  GRID_START,
  '',
  ...(results ? gridSection(results) : []),
  GRID_END,
  '',
]

/** Writes the page with the figures of all scenarios, and the results of the grid that are stored. */
export function writePage(figures: readonly Measured[], runs: number, seed: number) {
  mkdirSync(new URL('laboratory/', DOCS), { recursive: true })
  const write = (name: string, text: string) => writeFileSync(new URL(name, DOCS), text)
  const of = (what: Measured['what'], value: number) =>
    figures.filter(
      (figure) => figure.what === what && (figure.expected.kind === 'shown' || figure.expected.value === value),
    )
  write(
    'laboratory/false-positives.svg',
    dotPlot('False positives; 5 % are stated', of('false positives', 0.05), [0, 0.2], 0.05),
  )
  write('laboratory/coverage.svg', dotPlot('Coverage of 95 % intervals', of('coverage', 0.95), [0.85, 1], 0.95))
  write('laboratory/power.svg', dotPlot('Power at the size that is planned for 80 %', of('power', 0.8), [0, 1], 0.8))
  const looks = alarmsByLook(
    'False alarms by look, without any difference',
    alarmsOverLooks(Math.max(100, Math.round(runs / 10)), seed),
  )
  write('laboratory/looks.svg', looks)
  const rows = (title: string) =>
    figures
      .filter(({ scenario }) => scenario === title)
      .map(
        ({ method, what, share, error, expected, runs }) =>
          `| ${method} | ${what} | ${percent(share)} | ± ${percent(error)} | ${stated(expected)} | ${runs} |`,
      )
  const sections = scenarios.flatMap(({ title, note }) => [
    `## ${title}`,
    '',
    note,
    '',
    '| method | quantity | measured | standard error | stated | experiments |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows(title),
    '',
  ])
  write(
    'laboratory.md',
    [
      '# The laboratory',
      '',
      'This page shows how often each statistical method is right. The laboratory simulates experiments whose true',
      'effect is known, and analyses them with the functions that the platform uses (`server/statistics/`). False',
      'positives are how often a test is significant without an effect. Coverage is how often an interval contains',
      'the true value. Power is how often a test detects the effect for which the experiment was planned. A figure',
      '"shown for comparison" has no stated value; most of these figures show what happens without the method above',
      'them.',
      '',
      `\`npm run lab -- --runs ${runs} --seed ${seed}\` makes this page; the same seed gives the same page. A figure`,
      'is as stated if it meets the stated value within 3.5 standard errors, plus an allowance for methods that are',
      'approximations. The command checks every figure and fails if one is not as stated. The tests run the same check',
      'with fewer experiments (`npm run lab -- --quick`).',
      '',
      '![False positives](laboratory/false-positives.svg)',
      '',
      '![Coverage](laboratory/coverage.svg)',
      '',
      '![Power](laboratory/power.svg)',
      '',
      '![False alarms by look](laboratory/looks.svg)',
      '',
      ...gridLines(readResults()),
      ...sections,
    ].join('\n'),
  )
}

/** Replaces the section of the grid in the page, and its plots. */
export function writeGrid(results: GridResults) {
  const page = new URL('laboratory.md', DOCS)
  const text = readFileSync(page, 'utf8')
  const [start, end] = [text.indexOf(GRID_START), text.indexOf(GRID_END)]
  if (start < 0 || end < 0) throw new Error('docs/laboratory.md has no place for the grid: run npm run lab first')
  const lines = gridLines(results).join('\n').trimEnd()
  writeFileSync(page, `${text.slice(0, start)}${lines}${text.slice(end + GRID_END.length)}`)
  writeFileSync(new URL('laboratory/grid-false-decisions.svg', DOCS), falseDecisionsPlot(results))
  writeFileSync(new URL('laboratory/grid-power.svg', DOCS), powerPlot(results))
}
