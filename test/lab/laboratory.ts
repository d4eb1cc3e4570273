import { createRandom } from './random.ts'
import { type Measured, measure, type Scenario } from './scenario.ts'
import { allocationChanges, covariates, quantiles, ratios } from './scenarios/adjusted.ts'
import { families, sampleRatios } from './scenarios/families.ts'
import { means, rates, revenue, smallSamples } from './scenarios/fixed.ts'
import { drawLooks, LOOKS, peeking, plannedLooks, posteriors, sequence } from './scenarios/looks.ts'

/** Every scenario, in the order of the page. */
export const scenarios = [
  rates,
  smallSamples,
  means,
  revenue,
  ratios,
  covariates,
  quantiles,
  peeking,
  plannedLooks,
  posteriors,
  families,
  allocationChanges,
  sampleRatios,
]

/** The runs of `--quick`. With this number and the default seed, all figures are as stated. */
export const QUICK_RUNS = 5000

/** Measures every figure of every scenario. @param runs simulated experiments of the cheapest scenario */
export function runLaboratory(runs: number, seed: number): Measured[] {
  return scenarios.flatMap((scenario, index) => measure(scenario as Scenario, runs, seed + index))
}

/** Computes, for each of fifty looks, the share of A/A experiments in which a method has declared a winner by then. */
export function alarmsOverLooks(runs: number, seed: number) {
  const random = createRandom(seed)
  const naive = Array.from({ length: LOOKS }, () => 0)
  const valid = Array.from({ length: LOOKS }, () => 0)
  const count = (counts: number[], first: number) => {
    if (first >= 0) for (let look = first; look < LOOKS; look++) counts[look] = (counts[look] as number) + 1 / runs
  }
  for (let run = 0; run < runs; run++) {
    const looks = drawLooks(random, 0)
    count(
      naive,
      looks.findIndex(({ pValue }) => pValue < 0.05),
    )
    count(
      valid,
      looks.findIndex((look) => sequence(look).pValue <= 0.05),
    )
  }
  return [
    { name: "Welch's test", shares: naive },
    { name: 'confidence sequence', shares: valid },
  ]
}
