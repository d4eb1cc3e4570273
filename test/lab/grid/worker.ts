import { parentPort } from 'node:worker_threads'
import { cells } from './cells.ts'
import { measureCell } from './measure.ts'

/** Measures parts of cells in a thread of its own. */

export type Job = { cell: number; runs: number; seed: number }

parentPort?.on('message', ({ cell: index, runs, seed }: Job) => {
  const cell = cells[index]
  if (!cell) throw new RangeError(`There is no cell ${index}`)
  const start = performance.now()
  const tally = measureCell(cell, runs, seed)
  parentPort?.postMessage({ tally, seconds: (performance.now() - start) / 1000 })
})
