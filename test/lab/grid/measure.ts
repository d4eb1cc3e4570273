import type { Method, RunStatistics } from '../../../server/analysis/statistics.ts'
import { createRandom } from '../random.ts'
import type { Cell, Conditions } from './cells.ts'
import { createExperiment, looksOf } from './experiment.ts'
import { lookAtRun } from './play.ts'
import { growthbookRule, plainTest, type Verdict } from './rules.ts'

/** Simulates the experiments of a cell and counts what the methods do. */

/** A number of experiments with an event, of those in which the event could happen. */
export type Count = { count: number; of: number }
export const INTERVALS = ['difference', 'uplift', 'credible', 'planned', 'alwaysValid', 'alwaysValidUplift'] as const
export type IntervalName = (typeof INTERVALS)[number]

/** The results of one method in the experiments of a cell. */
export type Tally = {
  runs: number
  /** Experiments with a decision for a treatment that the truth contradicts. */
  falseShips: number
  falseStops: number
  falseDecisions: number
  /** Experiments that shipped a treatment which is better. */
  rightShips: number
  /** The experiments that shipped it first at each look; counted only where there is an effect. */
  shipsByLook: number[]
  /** Experiments with an alert that a treatment does harm, which does none. */
  falseAlerts: number
  blocked: number
  /** Experiments in which a guardrail that is worse by its margin passed. */
  falsePasses: number
  /** Users at the first decision, or at the last look, summed over the experiments. */
  users: number
  /** The sum of the shares of the horizon's users who were given the worse variant. */
  regret: number
  /** Experiments in which intervals of the first treatment cover the truth: always-valid ones at all looks, others at the last. */
  covered: Record<IntervalName, Count>
}
/** The rules of others, and the fixed test at the planned size. */
export const RULES = ['plain', 'growthbook', 'plannedTest'] as const
export type Rule = (typeof RULES)[number]
export type CellTally = { methods: Partial<Record<Method, Tally>>; rules: Record<Rule, Tally> }

/** Methods with planned looks are looked at so often between these, outside the named cells, where it is every look. */
const EVERY = 3
/** The users whom a decision concerns, as a multiple of the planned users. */
const HORIZON = 10

const newTally = (looks: number): Tally => ({
  runs: 0,
  falseShips: 0,
  falseStops: 0,
  falseDecisions: 0,
  rightShips: 0,
  shipsByLook: Array.from({ length: looks }, () => 0),
  falseAlerts: 0,
  blocked: 0,
  falsePasses: 0,
  users: 0,
  regret: 0,
  covered: Object.fromEntries(INTERVALS.map((name) => [name, { count: 0, of: 0 }])) as Tally['covered'],
})

export function newCellTally({ methods, group, conditions }: Cell): CellTally {
  const make = () => newTally(group === 'effects' ? conditions.looks : 0)
  const rules = Object.fromEntries(RULES.map((rule) => [rule, make()])) as CellTally['rules']
  return { methods: Object.fromEntries(methods.map((method) => [method, make()])), rules }
}

/** Adds all numbers of one tally to those of another. */
export function addTally<Numbers extends object>(into: Numbers, more: Numbers): Numbers {
  for (const [name, value] of Object.entries(more) as [keyof Numbers, number | object][]) {
    if (typeof value === 'number') (into[name] as number) += value
    else addTally(into[name] as object, value)
  }
  return into
}

/** Simulates `runs` experiments. The same seed gives the same counts. */
export function measureCell(cell: Cell, runs: number, seed: number): CellTally {
  const { conditions, methods, group } = cell
  const random = createRandom(seed)
  const tally = newCellTally(cell)
  for (let run = 0; run < runs; run++) {
    const experiment = createExperiment(random, conditions, methods)
    const watches = methods.map((method) => watch(tally.methods[method] as Tally, conditions))
    const rules = {
      plain: watch(tally.rules.plain, conditions),
      growthbook: watch(tally.rules.growthbook, conditions),
      plannedTest: watch(tally.rules.plannedTest, conditions),
    }
    const sizes = looksOf(conditions)
    for (const [look, users] of sizes.entries()) {
      experiment.advance(look)
      const truth = { difference: experiment.trueDifference(), uplift: conditions.uplift }
      const isLast = look === sizes.length - 1
      // Experiments with an effect end when they are decided.
      for (const [index, statistics] of experiment.statistics.entries()) {
        const own = watches[index]
        // Experiments with an effect end when they are decided.
        if (!own || (group === 'effects' && own.isDecided())) continue
        const isSkipped =
          group !== 'named' && methods[index] !== 'sequential' && look % EVERY !== 0 && !own.isDue(users)
        if (isLast || !isSkipped) own.look(statistics, truth, isLast)
      }
      if (conditions.periods > 1) continue
      const [statistics] = experiment.statistics as [RunStatistics]
      rules.plain.verdicts(plainTest(statistics), users)
      rules.growthbook.verdicts(growthbookRule(statistics), users)
      if (users >= (conditions.plannedUsers ?? Infinity) && !rules.plannedTest.isDecided())
        rules.plannedTest.verdicts(plainTest(statistics), users, true)
    }
    for (const each of [...watches, ...Object.values(rules)]) each.end(conditions.users)
  }
  return tally
}

type Truth = { difference: number; uplift: number }

/** Follows one experiment by one method, and adds to the tally what the method did when the experiment ends. */
function watch(tally: Tally, conditions: Conditions) {
  const { isHarmful } = conditions
  const isHelpful = conditions.uplift > 0
  const seen = {
    ship: false,
    stop: false,
    pass: false,
    alert: false,
    blocked: false,
    shipped: null as number | null,
    next: null as number | null,
    end: null as number | null,
  }
  const misses: Partial<Record<IntervalName, boolean>> = {}
  const decide = (outcome: string, users: number) => {
    if (outcome === 'ship') {
      seen.ship = true
      seen.shipped ??= users
    }
    if (outcome === 'stop') seen.stop = true
    seen.end ??= users
  }
  const cover = (name: IntervalName, interval: Bounds | null | undefined, value: number) => {
    if (!interval || (interval.lower === null && interval.upper === null)) return
    const isMissed = (interval.lower ?? -Infinity) > value || (interval.upper ?? Infinity) < value
    misses[name] = (misses[name] ?? false) || isMissed
  }
  return {
    isDecided: () => seen.end !== null,
    /** True where a planned look is due. */
    isDue: (users: number) => seen.next !== null && users >= seen.next,
    look(statistics: RunStatistics, truth: Truth, isLast: boolean) {
      const analysis = lookAtRun(statistics)
      for (const { outcome, users } of statistics.decisions) decide(outcome, users)
      seen.next = analysis.decision.nextLookAtUsers
      seen.alert ||= analysis.decision.harms.length > 0
      seen.blocked ||= analysis.decision.outcome === 'blocked'
      const comparison = analysis.metrics[0]?.comparisons[0]
      if (isHarmful)
        seen.pass ||= analysis.metrics.some(({ comparisons }) => comparisons[0]?.guardrail?.verdict === 'passed')
      cover('alwaysValid', comparison?.alwaysValid?.interval, truth.difference)
      cover('alwaysValidUplift', comparison?.alwaysValid?.upliftInterval, truth.uplift)
      // Experiments with an effect end when they are decided, which selects the intervals of the last look.
      if (!isLast || (isHelpful && !isHarmful)) return
      cover('difference', comparison?.interval, truth.difference)
      cover('uplift', comparison?.uplift?.interval, truth.uplift)
      cover('credible', comparison?.bayesian?.interval, truth.difference)
      // Over several periods with an effect, the true difference moves from look to look.
      for (const { planned, figures } of statistics.looks)
        if (planned !== null) cover('planned', figures[0]?.interval, truth.difference)
    },
    verdicts(verdicts: readonly Verdict[], users: number, isFinal = false) {
      if (verdicts.includes('better')) decide('ship', users)
      if (verdicts.includes('worse')) decide('stop', users)
      if (isFinal) seen.end ??= users
    },
    end(users: number) {
      const falseShip = seen.ship && (!isHelpful || isHarmful)
      tally.runs++
      tally.falseShips += Number(falseShip)
      tally.falseStops += Number(seen.stop && !isHarmful)
      tally.falseDecisions += Number(falseShip || (seen.stop && !isHarmful))
      tally.rightShips += Number(seen.ship && !falseShip)
      tally.falseAlerts += Number(seen.alert && !isHarmful)
      const shipped =
        tally.shipsByLook.length > 0 && seen.shipped !== null ? looksOf(conditions).indexOf(seen.shipped) : -1
      if (shipped >= 0) tally.shipsByLook[shipped] = (tally.shipsByLook[shipped] as number) + 1
      tally.blocked += Number(seen.blocked)
      tally.falsePasses += Number(seen.pass)
      tally.users += seen.end ?? users
      if (conditions.plannedUsers !== null) tally.regret += regretOf(conditions, seen.ship, seen.end ?? users)
      for (const [name, isMissed] of Object.entries(misses) as [IntervalName, boolean][]) {
        tally.covered[name].of++
        tally.covered[name].count += Number(!isMissed)
      }
    },
  }
}

type Bounds = { lower: number | null; upper: number | null }

/** The share of the horizon's users who are given the worse variant, where the treatment is better. */
function regretOf({ uplift, control, plannedUsers }: Conditions, isShipped: boolean, users: number): number {
  if (!(uplift > 0)) return 0
  const horizon = HORIZON * (plannedUsers as number)
  return ((users * control) / 100 + (isShipped ? 0 : Math.max(0, horizon - users))) / horizon
}
