import { type Cell, cells, quickCells } from './cells.ts'
import { describeCell, isAsStated } from './describe.ts'
import { addTally, measureCell, newCellTally } from './measure.ts'
import { inThreads, threads } from './pool.ts'
import { type CellResult, type GridResults, keyOf, resumeResults, seedOf, writeResults } from './store.ts'

/** The experiments of one job: small enough for all threads to be busy until the end. */
const PART = 50

type Part = { cell: number; runs: number; seed: number }

/**
 * Measures all cells of the grid, prints each one when it is done, and keeps its result. Cells that the present code
 * has measured before are not measured again.
 * @param only measures the cells whose group or name contains this
 * @param runs replaces the runs of every cell, and keeps nothing
 * @returns the results, and the names of cells that are not as stated
 */
export async function runGrid(only: string, runs: number | null): Promise<{ results: GridResults; wrong: string[] }> {
  const results = resumeResults()
  const chosen = cells.filter(({ group, name }) => `${group}: ${name}`.includes(only))
  const open = chosen.filter((cell) => runs !== null || !results.cells[keyOf(cell)])
  const runsOf = (cell: Cell) => runs ?? cell.runs
  console.log(`${chosen.length} cells, ${chosen.length - open.length} of them measured before; ${threads()} threads`)
  await estimate(open, runsOf)
  const start = performance.now()
  const pending = new Map<Cell, CellResult>()
  const measured: Record<string, CellResult> = {}
  await inThreads(
    open.flatMap((cell) => partsOf(cell, runsOf(cell))),
    (part, { tally, seconds }) => {
      const cell = cells[part.cell] as Cell
      const soFar = pending.get(cell) ?? { runs: 0, seconds: 0, tally: newCellTally(cell) }
      addTally(soFar.tally, tally)
      soFar.runs += part.runs
      soFar.seconds += seconds
      pending.set(cell, soFar)
      if (soFar.runs < runsOf(cell)) return
      console.log(`${minutes(performance.now() - start)} ${describeCell(cell, soFar)}`)
      measured[keyOf(cell)] = soFar
      if (runs !== null) return
      results.cells[keyOf(cell)] = soFar
      writeResults(results)
    },
  )
  console.log(`${open.length} cells in ${minutes(performance.now() - start)}`)
  const all = { ...results, cells: { ...results.cells, ...measured } }
  const wrong = chosen.filter((cell) => !isAsStated(cell, all.cells[keyOf(cell)]))
  return { results: all, wrong: wrong.map(({ group, name }) => `${group}: ${name}`) }
}

/** Measures a few cells with few experiments, and prints them. @returns the names of cells that are not as stated */
export function measureQuickly(): string[] {
  return quickCells.flatMap((cell) => {
    const result = measureOnce(cell)
    console.log(describeCell(cell, result))
    return isAsStated(cell, result) ? [] : [`${cell.group}: ${cell.name}`]
  })
}

/** Measures a cell in this thread. */
export function measureOnce(cell: Cell): CellResult {
  const start = performance.now()
  const tally = measureCell(cell, cell.runs, seedOf(cell, 0))
  return { runs: cell.runs, seconds: (performance.now() - start) / 1000, tally }
}

function partsOf(cell: Cell, runs: number): Part[] {
  return Array.from({ length: Math.ceil(runs / PART) }, (_, part) => ({
    cell: cells.indexOf(cell),
    runs: Math.min(PART, runs - part * PART),
    seed: seedOf(cell, part),
  }))
}

/** Measures one experiment of each cell, and prints how long all experiments will take. */
async function estimate(open: readonly Cell[], runsOf: (cell: Cell) => number) {
  let total = 0
  const jobs = [...open, ...open].map((cell, index) => ({
    ...{ cell: cells.indexOf(cell), runs: 1, seed: 1 },
    // The first experiments are slow, until the code is compiled.
    isCounted: index >= open.length,
  }))
  await inThreads(jobs, ({ cell, isCounted }, { seconds }) => {
    if (isCounted) total += seconds * runsOf(cells[cell] as Cell)
  })
  console.log(`about ${minutes((1000 * total) / threads())}`)
}

const minutes = (milliseconds: number) => `${(milliseconds / 60_000).toFixed(1)} min`
