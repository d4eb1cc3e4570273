import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { runGrid } from './grid/grid.ts'
import { gridSection } from './grid/page.ts'
import { falseDecisionsPlot, powerPlot } from './grid/plots.ts'
import { type GridResults, readResults } from './grid/store.ts'
import { alarmsOverLooks, QUICK_RUNS, runLaboratory, scenarios } from './laboratory.ts'
import { alarmsByLook, dotPlot } from './plots.ts'
import type { Expectation, Measured } from './scenario.ts'

const HELP = `npm run lab -- [options]

Simulates experiments whose true effect is known, analyses them with server/statistics/, and reports how often each
method is right: false positives, coverage, power. Writes docs/laboratory.md and its plots. Exits with 1 if a figure is
not as stated.

  --runs 20000   simulated experiments of the cheapest scenario; others take a share of them
  --seed 20261126
  --quick        5,000 runs, and nothing is written
  --grid         simulates whole experiments, look by look, and lets the platform's analysis decide them: see the
                 section "The grid" of docs/laboratory.md. Finished cells are kept in docs/laboratory/grid.json
  --only TEXT    with --grid: only the cells whose group or name contains this text
  --grid-runs N  with --grid: N experiments in every cell, and nothing is written`

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20000' },
    seed: { type: 'string', default: '20261126' },
    quick: { type: 'boolean', default: false },
    grid: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    'grid-runs': { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
const DOCS = new URL('../../docs/', import.meta.url)

function laboratory(runs: number, seed: number, isQuick: boolean) {
  if (!Number.isSafeInteger(runs) || runs < 100 || !Number.isSafeInteger(seed)) {
    console.error(`--runs takes a whole number from 100, --seed a whole number\n\n${HELP}`)
    process.exitCode = 1
    return
  }
  const figures = runLaboratory(runs, seed)
  for (const figure of figures) console.log(line(figure))
  const wrong = figures.filter(({ isRight }) => !isRight)
  console.log(`${figures.length} figures, ${wrong.length} not as stated`)
  if (wrong.length > 0) process.exitCode = 1
  if (!isQuick) writePage(figures, runs, seed)
}

const percent = (share: number) => `${(100 * share).toFixed(2)} %`

function stated(expected: Expectation): string {
  if (expected.kind === 'shown') return 'shown for comparison'
  const value = `${100 * expected.value} %`
  return expected.kind === 'exactly' ? value : `${expected.kind} ${value}`
}

function line({ scenario, method, what, share, error, expected, isRight, runs }: Measured): string {
  const verdict = expected.kind === 'shown' ? '' : isRight ? 'ok' : 'NOT AS STATED'
  return [
    scenario.padEnd(30),
    method.padEnd(50),
    what.padEnd(16),
    `${percent(share)} ± ${percent(error)}`.padEnd(20),
    stated(expected).padEnd(21),
    `${runs} runs`.padEnd(12),
    verdict,
  ].join(' ')
}

function writePage(figures: readonly Measured[], runs: number, seed: number) {
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

const [GRID_START, GRID_END] = ['<!-- The grid starts here. -->', '<!-- The grid ends here. -->']
const gridLines = (results: GridResults | null) => [
  GRID_START,
  '',
  ...(results ? gridSection(results) : []),
  GRID_END,
  '',
]

/** Replaces the section of the grid in the page, and its plots. */
function writeGrid(results: GridResults) {
  const page = new URL('laboratory.md', DOCS)
  const text = readFileSync(page, 'utf8')
  const [start, end] = [text.indexOf(GRID_START), text.indexOf(GRID_END)]
  if (start < 0 || end < 0) throw new Error('docs/laboratory.md has no place for the grid: run npm run lab first')
  const lines = gridLines(results).join('\n').trimEnd()
  writeFileSync(page, `${text.slice(0, start)}${lines}${text.slice(end + GRID_END.length)}`)
  writeFileSync(new URL('laboratory/grid-false-decisions.svg', DOCS), falseDecisionsPlot(results))
  writeFileSync(new URL('laboratory/grid-power.svg', DOCS), powerPlot(results))
}

async function grid(only: string, runs: number | null) {
  const { results, wrong } = await runGrid(only, runs)
  if (runs === null) writeGrid(results)
  for (const name of wrong) console.log(`NOT AS STATED: ${name}`)
  if (wrong.length > 0) process.exitCode = 1
}

if (values.help) console.log(HELP)
else if (values.grid) await grid(values.only, values['grid-runs'] === undefined ? null : Number(values['grid-runs']))
else laboratory(values.quick ? QUICK_RUNS : Number(values.runs), Number(values.seed), values.quick)
