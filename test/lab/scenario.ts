import { createRandom, type Random } from './random.ts'

/** The stated value of a share, in 0..1. `slack` is the error that the method's approximation may have. */
export type Expectation =
  /** The share equals the value, within the simulation's error and the slack. */
  | { kind: 'exactly'; value: number; slack?: number | undefined }
  /** The share is on the safe side of the value. */
  | { kind: 'at most' | 'at least'; value: number; slack?: number | undefined }
  /** No value is stated: the share is shown for comparison. */
  | { kind: 'shown' }

export const exactly = (value: number, slack?: number): Expectation => ({ kind: 'exactly', value, slack })
export const atMost = (value: number): Expectation => ({ kind: 'at most', value })
export const atLeast = (value: number, slack?: number): Expectation => ({ kind: 'at least', value, slack })
export const SHOWN: Expectation = { kind: 'shown' }

export type Figure = {
  method: string
  /** The quantity that the share measures. */
  what: 'false positives' | 'coverage' | 'power' | 'error rate'
  expected: Expectation
}

/** A kind of experiment that is simulated many times, and the figures that are measured in it. */
export type Scenario<Name extends string = string> = {
  title: string
  note: string
  /** The time of one run, relative to the cheapest scenario. The number of runs is divided by this. */
  cost: number
  figures: Record<Name, Figure>
  /** Simulates one experiment. @returns per figure true or 1 if its event happened, null if the event was impossible */
  once: (random: Random) => Record<Name, number | boolean | null>
}

export type Measured = Figure & { scenario: string; runs: number; share: number; error: number; isRight: boolean }

/** The error, in standard errors, that a correct method may show by chance. One figure in 2,000 exceeds it. */
const TOLERANCE = 3.5

/** Runs a scenario and measures its figures. The same seed gives the same figures. */
export function measure<Name extends string>(scenario: Scenario<Name>, runs: number, seed: number): Measured[] {
  const random = createRandom(seed)
  const names = Object.keys(scenario.figures) as Name[]
  const tallies = new Map(names.map((name) => [name, { count: 0, sum: 0, sumSq: 0 }]))
  const repetitions = Math.max(100, Math.round(runs / scenario.cost))
  for (let run = 0; run < repetitions; run++) {
    const outcome = scenario.once(random)
    for (const name of names) {
      const tally = tallies.get(name)
      const value = outcome[name]
      if (!tally || value === null) continue
      tally.count++
      tally.sum += Number(value)
      tally.sumSq += Number(value) ** 2
    }
  }
  return names.map((name) => {
    const { count, sum, sumSq } = tallies.get(name) as { count: number; sum: number; sumSq: number }
    const figure = scenario.figures[name]
    const share = sum / count
    const error = Math.sqrt(Math.max(sumSq / count - share ** 2, 1 / count / 4) / count)
    return {
      ...figure,
      scenario: scenario.title,
      runs: count,
      share,
      error,
      isRight: isAsExpected(figure.expected, share, error),
    }
  })
}

function isAsExpected(expected: Expectation, share: number, error: number): boolean {
  if (expected.kind === 'shown') return true
  const allowed = TOLERANCE * error + (expected.slack ?? 0)
  if (expected.kind === 'at most') return share <= expected.value + allowed
  if (expected.kind === 'at least') return share >= expected.value - allowed
  return Math.abs(share - expected.value) <= allowed
}

/** True if an interval contains a value; null without an interval. An upper bound of null is infinite. */
export const covers = (interval: readonly [number, number | null] | null | undefined, value: number) =>
  interval ? interval[0] <= value && (interval[1] === null || value <= interval[1]) : null
