import { beforeAll, describe, expect, test } from 'vitest'
import type { ExperimentDefinition, Subject } from '../../server/evaluation/definition.ts'
import { draw } from '../../server/evaluation/evaluate.ts'
import { position } from '../../server/evaluation/position.ts'
import { chiSquareSf, normalSf } from '../../server/statistics/distributions.ts'
import { compileAll, storedExperiment, subject } from './definitions.ts'
import { binomialP, sampleRatio, sum } from './goodness-of-fit.ts'

/**
 * These tests show why a change of shares opens a period, and why each period draws by its own text. 500 A/A
 * experiments change their shares while users keep coming. The users, their visits and their conversions are the same
 * in all experiments. Only the experiment's id differs, so only the draw is random. The tests print the figures.
 */

const EXPERIMENTS = 500
const PEOPLE = 4000
/** Below this p-value the platform reports a sample-ratio mismatch: docs/inference.md, sample ratio. */
const MISMATCH = 0.001
const LEVELS = [0.05, 0.01, MISMATCH]
const CONVERSION_LEVELS = [0.05, 0.01]

/** A user, the stages in which they come, and their conversion. Users who come often come early and convert more. */
type UserProfile = { user: Subject; comes: readonly [boolean, boolean]; converts: boolean }

const chance = (text: string) => position(text) / 100
const people: UserProfile[] = Array.from({ length: PEOPLE }, (_, index) => {
  const user = subject(`person_${index}`)
  /** Visits per day: one user in six comes twice a week or more often; half come about once a month or less. */
  const frequency = 0.6 * chance(`${user.userId} comes`) ** 4
  const comesWithin = (days: number) => chance(`${user.userId} within ${days}`) < 1 - Math.exp(-frequency * days)
  const converts = chance(`${user.userId} converts`) < 0.05 + 1.4 * frequency
  return { user, comes: [comesWithin(7), comesWithin(35)], converts }
})

/** The settings of one stage of an experiment, in per cent. */
type Stage = { shares: [number, number]; traffic?: number; period: number }
/** The numbers of users who are enrolled in one stage and of those who convert, by variant. */
type Enrolled = { shares: [number, number]; users: [number, number]; converted: [number, number] }

/** Simulates one experiment. Enrolled users keep their variant; the others draw when they come in the next stage. */
function run(id: number, stages: readonly Stage[]): Enrolled[] {
  const enrolled = new Set<UserProfile>()
  return stages.map(({ shares, traffic = 100, period }, index) => {
    const stored = { run: { id, number: 1, period, movable_start: null }, traffic_percent: traffic }
    const [experiment] = compileAll([storedExperiment(id, shares, stored)]) as [ExperimentDefinition]
    const users: [number, number] = [0, 0]
    const converted: [number, number] = [0, 0]
    for (const person of people) {
      // One draw per stage is enough: further visits in the same stage draw the same variant.
      if (!person.comes[index] || enrolled.has(person)) continue
      const decision = draw(experiment, person.user)
      if (decision.outcome !== 'drawn') continue
      enrolled.add(person)
      const variant = decision.variant.isControl ? 0 : 1
      users[variant]++
      if (person.converts) converted[variant]++
    }
    return { shares, users, converted }
  })
}

const simulate = (stages: readonly Stage[]) => Array.from({ length: EXPERIMENTS }, (_, index) => run(index + 1, stages))

/**
 * The two-sided p-value of a difference of conversion rates, stratified by stage, with a normal reference distribution:
 * docs/comparisons.md, allocation periods.
 */
function differenceP(strata: readonly Enrolled[]): number {
  const total = sum(strata.map(({ users }) => sum(users)))
  let difference = 0
  let variance = 0
  for (const { users, converted } of strata) {
    const weight = sum(users) / total
    const [control, treatment] = users.map((count, variant) => {
      const rate = (converted[variant] as number) / count
      return { rate, variance: (rate * (1 - rate)) / (count - 1) }
    }) as [{ rate: number; variance: number }, { rate: number; variance: number }]
    difference += weight * (treatment.rate - control.rate)
    variance += weight ** 2 * (treatment.variance + control.variance)
  }
  return 2 * normalSf(Math.abs(difference) / Math.sqrt(variance))
}

/** Pools all stages, as an analysis without periods does. @param shares the shares of the last stage */
const pooled = (stages: readonly Enrolled[], shares: [number, number]): Enrolled => ({
  shares,
  users: [0, 1].map((variant) => sum(stages.map(({ users }) => users[variant] as number))) as [number, number],
  converted: [0, 1].map((variant) => sum(stages.map(({ converted }) => converted[variant] as number))) as [
    number,
    number,
  ],
})

/** The p-values of the sample-ratio check on the users of one period, one per run. */
const inPeriod = (runs: readonly Enrolled[][], period: number) =>
  runs.map((periods) => ratioP(periods[period - 1] as Enrolled))

const ratioP = ({ users, shares }: Enrolled) => sampleRatio(users, shares).p

/** The p-value of a whole run: the chi-squares and the degrees of freedom of its periods are added. */
function ratioOfRunP(stages: readonly Enrolled[]): number {
  const ratios = stages.map(({ users, shares }) => sampleRatio(users, shares))
  return chiSquareSf(sum(ratios.map((ratio) => ratio.chiSquare)), sum(ratios.map((ratio) => ratio.degreesOfFreedom)))
}

const below = (values: readonly number[], level: number) => values.filter((value) => value < level).length

/** Counts the p-values below each level, and prints and returns the counts. */
function alarms(what: string, values: readonly number[], levels = LEVELS): number[] {
  const counts = levels.map((level) => below(values, level))
  const figures = counts.map((count, index) => `${count} at ${100 * (levels[index] as number)} %`)
  console.log(`${what}: of ${values.length}, ${figures.join(', ')}`)
  return counts
}

/** Expects as many alarms as the level says, within exact binomial bounds. */
function expectNominal(what: string, values: readonly number[], levels = LEVELS) {
  for (const [index, count] of alarms(what, values, levels).entries())
    expect(binomialP(count, values.length, levels[index] as number), `${what}: ${count}`).toBeGreaterThan(0.001)
}

/** Tests that false alarms stay at their level if each period draws by its own text. */
function testFalseAlarms(name: string, runs: () => Enrolled[][]) {
  test('raises no more sample-ratio alarms than the level allows, in each period and in all periods', () => {
    expectNominal(`${name}, sample ratio in period 1`, inPeriod(runs(), 1))
    expectNominal(`${name}, sample ratio in period 2`, inPeriod(runs(), 2))
    expectNominal(`${name}, sample ratio of the run, periods added`, runs().map(ratioOfRunP))
  })

  test('reports no more differences of conversion than the level allows, stratified by period', () => {
    expectNominal(`${name}, conversion stratified by period`, runs().map(differenceP), CONVERSION_LEVELS)
  })
}

describe('an A/A experiment that goes from 10/10 to 50/50', () => {
  const first: Stage = { shares: [10, 10], period: 1 }
  let runs: Enrolled[][]
  beforeAll(() => {
    runs = simulate([first, { shares: [50, 50], period: 2 }])
  }, 120_000)

  testFalseAlarms('10/10 to 50/50', () => runs)

  test('nearly always raises an alarm if the other users draw again by the text of the first period', () => {
    const oldText = simulate([first, { shares: [50, 50], period: 1 }])
    const [, , mismatches] = alarms('10/10 to 50/50, old text, sample ratio in period 2', inPeriod(oldText, 2))
    expect(mismatches).toBeGreaterThan(0.95 * EXPERIMENTS)
    const conversions = oldText.map(differenceP)
    const [differences] = alarms('10/10 to 50/50, old text, conversion stratified', conversions, CONVERSION_LEVELS)
    // The difference is a bias, so more users make it more visible: with ten times as many, nearly every experiment
    // shows it.
    expect(differences).toBeGreaterThan(0.2 * EXPERIMENTS)
  }, 120_000)
})

describe('an A/A experiment that goes from 90/10 to 50/50', () => {
  const first: Stage = { shares: [90, 10], period: 1 }
  let runs: Enrolled[][]
  beforeAll(() => {
    runs = simulate([first, { shares: [50, 50], period: 2 }])
  }, 120_000)

  testFalseAlarms('90/10 to 50/50', () => runs)

  test('enrols all users who come, so nobody draws again and the text of the first period does no harm', () => {
    const oldText = simulate([first, { shares: [50, 50], period: 1 }])
    expectNominal('90/10 to 50/50, old text, sample ratio in period 2', inPeriod(oldText, 2))
    expectNominal('90/10 to 50/50, old text, conversion stratified', oldText.map(differenceP), CONVERSION_LEVELS)
  }, 120_000)

  test('always raises an alarm if its periods are pooled', () => {
    const together = runs.map((stages) => pooled(stages, [50, 50]))
    const [, , mismatches] = alarms('90/10 to 50/50, pooled, sample ratio', together.map(ratioP))
    expect(mismatches).toBe(EXPERIMENTS)
    const conversions = together.map((all) => differenceP([all]))
    const [differences] = alarms('90/10 to 50/50, pooled, conversion', conversions, CONVERSION_LEVELS)
    expect(differences).toBeGreaterThan(0.95 * EXPERIMENTS)
  })
})

describe('an A/A experiment whose traffic goes from 20 to 100 percent', () => {
  test('needs no second period: pooled, it raises no more alarms of ratio and conversion than the level allows', () => {
    const stages = simulate([
      { shares: [50, 50], traffic: 20, period: 1 },
      { shares: [50, 50], period: 1 },
    ]).map((both) => pooled(both, [50, 50]))
    expectNominal('traffic 20 to 100 %, sample ratio', stages.map(ratioP))
    expectNominal(
      'traffic 20 to 100 %, conversion',
      stages.map((all) => differenceP([all])),
      [0.05, 0.01],
    )
  })
})

test('the simulated users who come early convert at least half again as often as those who come late', () => {
  const rate = (of: readonly UserProfile[]) => sum(of.map(({ converts }) => (converts ? 1 : 0))) / of.length
  const early = people.filter(({ comes }) => comes[0])
  const late = people.filter(({ comes }) => !comes[0] && comes[1])
  console.log(
    `people: ${early.length} come in period 1 and convert at ${(100 * rate(early)).toFixed(1)} %, ${late.length} only in period 2 at ${(100 * rate(late)).toFixed(1)} %`,
  )
  expect(rate(early)).toBeGreaterThan(1.5 * rate(late))
})
