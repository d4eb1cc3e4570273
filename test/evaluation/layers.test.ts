import { beforeAll, describe, expect, test } from 'vitest'
import type { StoredExperiment } from '../../server/definitions/stored.ts'
import { sumPercents } from '../../server/evaluation/allocation.ts'
import type { ExperimentDefinition, StoredVariant, Subject } from '../../server/evaluation/definition.ts'
import { decideSettled, draw, drawPosition, layerPosition, trafficPosition } from '../../server/evaluation/evaluate.ts'
import { findOverlap, freeRanges, type Range, resizeShare, shareOf } from '../../server/evaluation/layer.ts'
import { position } from '../../server/evaluation/position.ts'
import { isSoak, scaleOf } from '../support/scale.ts'
import { compileAll, newUsers, storedExperiment, subject } from './definitions.ts'
import { binomialZ, independenceP, kolmogorovSf, kolmogorovSmirnov, sampleRatio } from './goodness-of-fit.ts'

/**
 * The ids in these tests are fixed and their SHA-256 decides, so every figure is the same in every run of the tests.
 * The tests print the figures.
 */

const USERS = scaleOf('layers by computation').size
const LAYER = 3

/** Lays out shares of a layer side by side, from position 0 on. */
const sideBySide = (percents: readonly number[]): Range[] =>
  percents.map((percent, index) => {
    const from = sumPercents(percents.slice(0, index))
    return { from, to: sumPercents([from, percent]) }
  })

describe('the goodness-of-fit functions of these tests', () => {
  test('give the tabulated quantiles of Kolmogorov’s distribution', () => {
    expect(kolmogorovSf(1.2238)).toBeCloseTo(0.1, 4)
    expect(kolmogorovSf(1.3581)).toBeCloseTo(0.05, 4)
    expect(kolmogorovSf(1.6276)).toBeCloseTo(0.01, 4)
  })

  test('distinguish uniform p-values from others, and independent positions from related ones', () => {
    const even = Array.from({ length: 1000 }, (_, index) => (index + 0.5) / 1000)
    expect(kolmogorovSmirnov(even).p).toBeGreaterThan(0.99)
    expect(kolmogorovSmirnov(even.map((value) => value ** 1.2)).p).toBeLessThan(0.001)
    const one = newUsers(2000).map(({ userId }) => position(userId))
    const other = newUsers(2000).map(({ userId }) => position(`${userId}!`))
    expect(independenceP(tabulate(one, other))).toBeGreaterThan(0.01)
    const mixed = other.map((value, index) => (index % 5 === 0 ? (one[index] as number) : value))
    expect(independenceP(tabulate(one, mixed))).toBeLessThan(1e-10)
  })
})

describe('a layer with fixed shares', () => {
  test(`gives each experiment its share of ${USERS} users, and no user two experiments`, () => {
    const percents = [10, 20.5, 33.3333, 0.25, 25]
    const experiments = compileAll(
      sideBySide(percents).map((range, index) =>
        storedExperiment(index + 1, [50, 50], { layer_id: LAYER, layer_ranges: [range] }),
      ),
    )
    const counts = percents.map(() => 0)
    const inHowMany = [0, 0]
    for (const user of newUsers(USERS)) {
      const drawn = experiments.flatMap((experiment, index) =>
        draw(experiment, user).outcome === 'drawn' ? index : [],
      )
      inHowMany[drawn.length] = (inHowMany[drawn.length] ?? 0) + 1
      for (const index of drawn) counts[index] = (counts[index] as number) + 1
    }
    expect(inHowMany).toHaveLength(2)
    const scores = percents.map((percent, index) => binomialZ(counts[index] as number, USERS, percent / 100))
    const none = binomialZ(inHowMany[0] as number, USERS, 1 - sumPercents(percents) / 100)
    report(
      `fixed shares ${percents.join(' / ')}: users ${counts.join(' / ')}`,
      `z ${list(scores)}; in none ${none.toFixed(2)}`,
    )
    for (const z of [...scores, none]) expect(Math.abs(z)).toBeLessThan(4)
  })
})

/**
 * A model of the platform's rules for the positions of a layer (experiments/layers.ts, experiments/life-cycle.ts): shares
 * move, runs end and begin, experiments join, and assignments stay.
 */
class LayerModel {
  experiments: StoredExperiment[] = []
  compiled: ExperimentDefinition[] = []
  runs = 0

  join(percent: number): boolean {
    const joined = storedExperiment(this.experiments.length + 1, [50, 50], { layer_id: LAYER, run: null })
    this.experiments.push(joined)
    if (this.resize(joined, percent)) {
      this.begin(joined)
      return true
    }
    this.experiments.pop()
    return false
  }

  /** Changes an experiment's share. @returns false if the platform refuses: the layer has too few free positions */
  resize(experiment: StoredExperiment, percent: number): boolean {
    const held = this.heldByOthers(experiment)
    const own = findOverlap(experiment.layer_ranges, held) ? [] : experiment.layer_ranges
    const ranges = resizeShare(own, held, percent)
    if (ranges) experiment.layer_ranges = ranges
    return ranges !== null
  }

  /** Begins a new run. @returns false if the platform refuses: another experiment has taken the positions */
  begin(experiment: StoredExperiment): boolean {
    if (findOverlap(experiment.layer_ranges, this.heldByOthers(experiment))) return false
    const number = (experiment.run?.number ?? 0) + 1
    experiment.run = { id: ++this.runs, number, period: 1, movable_start: null }
    experiment.status = 'running'
    return true
  }

  heldByOthers(experiment: StoredExperiment): Range[] {
    const others = this.experiments.filter(({ id, status }) => id !== experiment.id && status !== 'completed')
    return others.flatMap(({ layer_ranges }) => layer_ranges)
  }

  free(): number {
    const held = this.experiments.filter(({ status }) => status !== 'completed')
    return shareOf(freeRanges(held.flatMap(({ layer_ranges }) => layer_ranges)))
  }

  publish() {
    this.compiled = compileAll(this.experiments)
  }

  get unfinished(): number[] {
    const open = this.experiments.filter(({ status }) => status !== 'completed')
    return open.flatMap(({ run }) => (run ? run.id : []))
  }
}

/** A number in [0, 1) that depends only on the text. */
const chance = (text: string) => position(text) / 100

/** Makes a generator of random numbers in [0, 1). The same seed gives the same numbers. */
function mulberry32(seed: number) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Makes one random change to the layer, as an operator might. @param text determines the change @returns its name */
function change(model: LayerModel, text: string): string {
  const open = model.experiments.filter(({ status }) => status !== 'completed')
  const ended = model.experiments.filter(({ status }) => status === 'completed')
  const pick = (from: readonly StoredExperiment[]) => from[Math.floor(chance(`${text} which`) * from.length)]
  /** A random percentage with four decimals. */
  const upTo = (limit: number, what: string) => Math.floor(limit * chance(`${text} ${what}`) * 10_000) / 10_000
  const kind = chance(`${text} kind`)
  const [one, over] = [pick(open), pick(ended)]
  if (kind < 0.5 && one) {
    // Another experiment takes part of the positions that this one gives up.
    const moved = model.resize(one, upTo(60, 'percent'))
    const other = pick(open.filter((experiment) => experiment !== one))
    if (other) model.resize(other, sumPercents([shareOf(other.layer_ranges), upTo(model.free(), 'taken')]))
    return moved ? 'moved' : 'refused'
  }
  if (kind < 0.62 && one && open.length > 1) {
    one.status = 'completed'
    return 'completed'
  }
  if (kind < 0.72 && one) return model.begin(one) ? 'new run' : 'refused'
  if (kind < 0.84 && over) {
    model.resize(over, upTo(model.free(), 'again'))
    return model.begin(over) ? 'run again' : 'refused'
  }
  if (kind < 0.92 && one) {
    one.status = one.status === 'paused' ? 'running' : 'paused'
    return one.status === 'paused' ? 'paused' : 'resumed'
  }
  return model.join(upTo(model.free(), 'joining')) ? 'joined' : 'refused'
}

/**
 * Simulates users who come back on random days while the layer changes every day.
 * @param decide the platform's `draw`, or another function to compare with it
 */
function live(days: number, users: number, decide: typeof draw) {
  const model = new LayerModel()
  for (const percent of [40, 25.5, 20]) model.join(percent)
  const random = mulberry32(days)
  const people = newUsers(users).map(({ userId }) => {
    const runs = new Map<number, StoredVariant>()
    // A few users come nearly every day; most come seldom.
    return { user: subject(userId, runs), frequency: random() ** 4 }
  })
  const seen = {
    visits: 0,
    keptOut: 0,
    again: 0,
    flipped: 0,
    inTwo: new Set<string>(),
    changes: new Map<string, number>(),
  }

  for (let day = 1; day <= days; day++) {
    for (let step = 0; day > 1 && step < 3; step++) {
      const what = change(model, `day ${day} step ${step}`)
      seen.changes.set(what, (seen.changes.get(what) ?? 0) + 1)
    }
    model.publish()
    const unfinished = model.unfinished
    for (const { user, frequency } of people) {
      if (random() >= frequency) continue
      seen.visits++
      const runs = user.runs as Map<number, StoredVariant>
      for (const experiment of model.compiled) {
        const runId = experiment.run?.id as number
        const stored = runs.get(runId)
        const decision = decideSettled(experiment, user.userId, stored) ?? decide(experiment, user)
        if (decision.outcome === 'drawn') runs.set(runId, { variantId: decision.variant.id })
        if (decision.outcome === 'left out' && decision.reason === 'in another experiment of the layer') seen.keptOut++
        const open = experiment.status === 'running' || experiment.status === 'paused'
        if (open && stored) {
          seen.again++
          if (decision.outcome === 'left out' || decision.variant.id !== stored.variantId) seen.flipped++
        }
      }
      if (unfinished.filter((runId) => runs.has(runId)).length > 1) seen.inTwo.add(user.userId)
    }
  }
  return { ...seen, model, people }
}

describe('a layer whose shares move every day while users come and go', () => {
  const DAYS = 20
  let outcome: ReturnType<typeof live>
  beforeAll(() => {
    outcome = live(DAYS, USERS, draw)
  }, 120_000)

  test('never has a user in two unfinished runs, and keeps every user’s variant', () => {
    const { visits, again, keptOut, inTwo, flipped, changes, people, model } = outcome
    const inSeveral = people.filter(({ user }) => user.runs.size > 1).length
    report(
      `moving shares: ${DAYS} days, ${[...changes].map(([what, count]) => `${count} ${what}`).join(', ')}; ${model.experiments.length} experiments, ${model.runs} runs`,
      `${visits} visits, ${again} of assigned users, kept out by another run ${keptOut} times, ${inSeveral} users in several runs one after another; in two at once: ${inTwo.size}; flipped: ${flipped}`,
    )
    expect(inTwo.size).toBe(0)
    expect(flipped).toBe(0)
    // The simulation does reach the cases that could go wrong.
    for (const count of [keptOut, again, inSeveral]) expect(count).toBeGreaterThan(1000)
    for (const what of ['moved', 'completed', 'new run', 'run again', 'joined'])
      expect(changes.get(what)).toBeGreaterThan(0)
  })

  test('gives newcomers the shares of the day', () => {
    const { model } = outcome
    const newcomers = newUsers(20_000, 'newcomer')
    const scores = model.compiled
      .filter(({ status }) => status === 'running')
      .map((experiment) => {
        const share = shareOf(experiment.layer?.ranges ?? []) / 100
        const drawn = newcomers.filter((user) => draw(experiment, user).outcome === 'drawn').length
        return share === 0 ? drawn : binomialZ(drawn, newcomers.length, share)
      })
    report('newcomers after the last day, by running experiment', `z ${list(scores)}`)
    for (const z of scores) expect(Math.abs(z)).toBeLessThan(4)
  })

  test('would have many users in two runs if the shares alone decided', () => {
    const byShareAlone: typeof draw = (experiment, user) =>
      draw(experiment.layer ? { ...experiment, layer: { ...experiment.layer, otherRunIds: [] } } : experiment, user)
    const { inTwo } = live(10, 20_000, byShareAlone)
    report('the same without checking other runs, 20,000 users in 10 days', `in two at once: ${inTwo.size} users`)
    expect(inTwo.size).toBeGreaterThan(500)
  })
})

describe('many layers of three A/A experiments each', () => {
  const LAYERS = isSoak ? 1000 : 300
  const PEOPLE = 4500
  const THIRDS = [33.3333, 33.3333, 33.3334]
  const ALLOCATIONS = [[50, 50], [90, 10], THIRDS]
  const users = newUsers(PEOPLE)

  /**
   * Per layer: p-values of its experiments' sample-ratio checks, the p-value of its shares, and users per experiment.
   */
  let checks: ReturnType<typeof check>[]
  beforeAll(() => {
    checks = Array.from({ length: LAYERS }, (_, index) => check(index))
  }, 120_000)

  function check(index: number) {
    const ranges = sideBySide(THIRDS)
    const experiments = compileAll(
      ALLOCATIONS.map((percents, nth) =>
        storedExperiment(index * 3 + nth + 1, percents, { layer_id: index + 1, layer_ranges: [ranges[nth] as Range] }),
      ),
    )
    const counts = ALLOCATIONS.map((percents) => percents.map(() => 0))
    for (const user of users) count(experiments, user, counts)
    const enrolled = counts.map((each) => each.reduce((total, more) => total + more, 0))
    return {
      variants: counts.map((each, nth) => sampleRatio(each, ALLOCATIONS[nth] as number[]).p),
      shares: sampleRatio(enrolled, THIRDS).p,
      enrolled,
    }
  }

  test.each(ALLOCATIONS.map((percents, index) => [percents.join('/'), index] as const))(
    'give uniform p-values in the sample-ratio checks of variants at %s',
    (name, index) => {
      const values = checks.map(({ variants }) => variants[index] as number)
      const { distance, p } = kolmogorovSmirnov(values)
      const alarms = [0.05, 0.01, 0.001].map((level) => values.filter((value) => value < level).length)
      const people = checks.map(({ enrolled }) => enrolled[index] as number)
      report(
        `${name}: ${values.length} A/A experiments of ${Math.min(...people)} to ${Math.max(...people)} users`,
        `KS distance ${distance.toFixed(4)}, p ${p.toFixed(3)}; alarms at 5 / 1 / 0.1 %: ${alarms.join(' / ')}`,
      )
      expect(p).toBeGreaterThan(0.01)
    },
  )

  test('give uniform p-values in the sample-ratio checks of the layers’ shares', () => {
    const { distance, p } = kolmogorovSmirnov(checks.map(({ shares }) => shares))
    report(`${LAYERS} layers of three shares, ${PEOPLE} users`, `KS distance ${distance.toFixed(4)}, p ${p.toFixed(3)}`)
    expect(p).toBeGreaterThan(0.01)
  })
})

/** Counts the variant that a user draws in the one experiment of the layer that admits them. */
function count(experiments: readonly ExperimentDefinition[], user: Subject, counts: number[][]) {
  for (const [index, experiment] of experiments.entries()) {
    const decision = draw(experiment, user)
    if (decision.outcome === 'left out') continue
    const variant = experiment.variants.indexOf(decision.variant)
    const each = counts[index] as number[]
    each[variant] = (each[variant] as number) + 1
    return
  }
}

describe('positions of the same users under different texts', () => {
  const EXPERIMENTS = isSoak ? 500 : 200
  const users = newUsers(1200, 'placed')
  type Draw = 'variant' | 'traffic' | 'layer' | 'other experiment' | 'next period' | 'next run'
  const PAIRS: [Draw, Draw][] = [
    ['variant', 'traffic'],
    ['variant', 'layer'],
    ['traffic', 'layer'],
    ['variant', 'other experiment'],
    ['variant', 'next period'],
    ['variant', 'next run'],
  ]

  /** Per experiment and kind of draw: the positions of the users. */
  let positions: Record<Draw, number[]>[]
  beforeAll(() => {
    positions = Array.from({ length: EXPERIMENTS }, (_, index) => positionsIn(index + 1))
  }, 120_000)

  function positionsIn(id: number): Record<Draw, number[]> {
    const by = (experimentId: number, number: number, period: number) => {
      const run = { id: 1, number, period, movable_start: null }
      const [compiled] = compileAll([storedExperiment(experimentId, [50, 50], { run })])
      return compiled as ExperimentDefinition
    }
    const [first, nextPeriod, nextRun] = [by(id, 1, 1), by(id, 1, 2), by(id, 2, 1)]
    const other = by(id + EXPERIMENTS, 1, 1)
    return {
      variant: users.map((user) => drawPosition(first, user)),
      traffic: users.map((user) => trafficPosition(first, user)),
      layer: users.map((user) => layerPosition(id, user)),
      'other experiment': users.map((user) => drawPosition(other, user)),
      'next period': users.map((user) => drawPosition(nextPeriod, user)),
      'next run': users.map((user) => drawPosition(nextRun, user)),
    }
  }

  test.each(PAIRS)('are independent between the draws of %s and %s', (one, other) => {
    const values = positions.map((byDraw) => independenceP(tabulate(byDraw[one], byDraw[other])))
    const { distance, p } = kolmogorovSmirnov(values)
    report(
      `${one} and ${other}: 10 x 10 tables of ${EXPERIMENTS} experiments`,
      `KS distance ${distance.toFixed(4)}, p ${p.toFixed(3)}`,
    )
    // Bonferroni's correction: the level is 0.01 for all pairs together.
    expect(p).toBeGreaterThan(0.01 / PAIRS.length)
  })
})

/**
 * Counts users by the tenths that their two positions fall into.
 * @param positions in [0, 100), by user
 * @param others positions of the same users in another draw
 */
function tabulate(positions: readonly number[], others: readonly number[]): number[][] {
  const table = Array.from({ length: 10 }, () => Array<number>(10).fill(0))
  for (const [user, position] of positions.entries()) {
    const row = table[Math.floor(position / 10)] as number[]
    const column = Math.floor((others[user] as number) / 10)
    row[column] = (row[column] as number) + 1
  }
  return table
}

const list = (scores: readonly number[]) => scores.map((score) => score.toFixed(2)).join(' ')
const report = (what: string, figures: string) => console.log(`${what}: ${figures}`)
