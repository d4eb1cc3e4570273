import { createRandom, type Random } from './random.ts'

/** What a share should be, and how it is judged. */
export type Expectation =
  /** As stated, within the simulation's error and what the method's approximation leaves open. */
  | { kind: 'exactly'; value: number; slack?: number | undefined }
  /** On the safe side of what is stated. */
  | { kind: 'at most' | 'at least'; value: number; slack?: number | undefined }
  /** Not claimed: shown for comparison. */
  | { kind: 'shown' }

export const exactly = (value: number, slack?: number): Expectation => ({ kind: 'exactly', value, slack })
export const atMost = (value: number): Expectation => ({ kind: 'at most', value })
export const atLeast = (value: number, slack?: number): Expectation => ({ kind: 'at least', value, slack })
export const SHOWN: Expectation = { kind: 'shown' }

export type Figure = {
  method: string
  /** False positives, coverage, power … */
  what: 'false positives' | 'coverage' | 'power' | 'error rate'
  expected: Expectation
}

/** A situation that is simulated over and over: what it is, and what is counted in it. */
export type Scenario<Name extends string = string> = {
  title: string
  note: string
  /** How many times less often it is run than others: it costs more. */
  cost: number
  figures: Record<Name, Figure>
  /** One simulated experiment: 1 or true where the figure's event happened, null where it could not. */
  once: (random: Random) => Record<Name, number | boolean | null>
}

export type Measured = Figure & { scenario: string; runs: number; share: number; error: number; isRight: boolean }

/** Standard errors that a right method may be off by chance: 1 in 2,000 figures is off by more. */
const TOLERANCE = 3.5

/** Runs a scenario; the same seed gives the same figures. */
export function measure<Name extends string>(scenario: Scenario<Name>, runs: number, seed: number): Measured[] {
  const random = createRandom(seed)
  const names = Object.keys(scenario.figures) as Name[]
  const tallies = new Map(names.map((name) => [name, { count: 0, sum: 0, sumSq: 0 }]))
  const turns = Math.max(100, Math.round(runs / scenario.cost))
  for (let turn = 0; turn < turns; turn++) {
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

/** Whether an interval holds a value; null where there is no interval. */
export const covers = (interval: readonly [number, number | null] | null | undefined, value: number) =>
  interval ? interval[0] <= value && (interval[1] === null || value <= interval[1]) : null
