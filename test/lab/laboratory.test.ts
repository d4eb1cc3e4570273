import { expect, test } from 'vitest'
import { scaleOf } from '../support/scale.ts'
import { quickCells } from './grid/cells.ts'
import { describeCell, isAsStated } from './grid/describe.ts'
import { measureOnce } from './grid/grid.ts'
import { runLaboratory } from './laboratory.ts'

test('every statistical method has its stated error rate, coverage and power in simulated experiments', () => {
  const { size, seed } = scaleOf('laboratory')
  const figures = runLaboratory(size, seed)
  expect(figures.length).toBeGreaterThan(50)
  for (const { share, runs } of figures) expect(Number.isFinite(share) && runs >= 20).toBe(true)
  expect(figures.filter(({ isRight }) => !isRight)).toEqual([])
}, 900_000)

test.for(quickCells)('decisions of whole experiments are rarely false: $name', (cell) => {
  const result = measureOnce(cell)
  expect(isAsStated(cell, result), describeCell(cell, result)).toBe(true)
})
