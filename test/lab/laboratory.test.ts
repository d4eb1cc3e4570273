import { expect, test } from 'vitest'
import { QUICK_RUNS, runLaboratory } from './laboratory.ts'

test('every method is as right as it says, in simulated experiments', () => {
  const figures = runLaboratory(QUICK_RUNS, 20261126)
  expect(figures.length).toBeGreaterThan(50)
  for (const { share, runs } of figures) expect(Number.isFinite(share) && runs >= 20).toBe(true)
  expect(figures.filter(({ isRight }) => !isRight)).toEqual([])
}, 180_000)
