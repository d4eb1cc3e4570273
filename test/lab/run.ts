import { parseArgs } from 'node:util'
import { measureQuickly, runGrid } from './grid/grid.ts'
import { QUICK_RUNS, runLaboratory } from './laboratory.ts'
import { percent, stated, writeGrid, writePage } from './page.ts'
import type { Measured } from './scenario.ts'

const HELP = `npm run lab -- [options]

Simulates experiments whose true effect is known, analyses them with server/statistics/, and reports how often each
method is right: false positives, coverage, power. Writes docs/laboratory.md and its plots. Exits with 1 if a figure is
not as stated.

  --runs 20000   simulated experiments of the cheapest scenario; others take a share of them
  --seed 20261126
  --quick        5,000 runs and a few cells of the grid, and nothing is written
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
  if (isQuick) report(measureQuickly())
  else writePage(figures, runs, seed)
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

async function grid(only: string, runs: number | null) {
  const { results, wrong } = await runGrid(only, runs)
  if (runs === null) writeGrid(results)
  report(wrong)
}

/** @param wrong the cells that are not as stated */
function report(wrong: readonly string[]) {
  for (const name of wrong) console.log(`NOT AS STATED: ${name}`)
  if (wrong.length > 0) process.exitCode = 1
}

if (values.help) console.log(HELP)
else if (values.grid) await grid(values.only, values['grid-runs'] === undefined ? null : Number(values['grid-runs']))
else laboratory(values.quick ? QUICK_RUNS : Number(values.runs), Number(values.seed), values.quick)
