import type { Cell } from './cells.ts'
import { type Count, INTERVALS, RULES, type Rule, type Tally } from './measure.ts'
import type { CellResult } from './store.ts'

/** Judges the results of cells, and puts them into lines. */

const ALPHA = 0.05
/** The Monte Carlo errors that a figure may be off by chance. */
const TOLERANCE = 3

/** The share of clean experiments that may be blocked at any look. */
const BLOCKED = 0.01

const allowed = (share: number, runs: number) => share + TOLERANCE * Math.sqrt((share * (1 - share)) / runs)

/** True if at most 5 % of the experiments had the event, within the simulation's error. */
export const isRare = (count: number, runs: number) => count / runs <= allowed(ALPHA, runs)

/** True if at most 1 % of the experiments, whose data are clean, were blocked. */
export const isSeldom = (count: number, runs: number) => count / runs <= allowed(BLOCKED, runs)

/** True if at least 95 % of the intervals cover the truth, within the simulation's error. */
export const coversEnough = ({ count, of }: Count) => of === 0 || isRare(of - count, of)

/** True if the figures of all methods are as stated. A cell without a result is not. */
export function isAsStated({ group, methods }: Cell, result: CellResult | undefined): boolean {
  if (!result) return false
  const isRight = methods.every((method) => {
    const tally = result.tally.methods[method]
    if (!tally) return false
    const { falseDecisions, falsePasses, falseAlerts, blocked, covered, runs } = tally
    return (
      isRare(falseDecisions, runs) &&
      isRare(falsePasses, runs) &&
      isRare(falseAlerts, runs) &&
      isSeldom(blocked, runs) &&
      (method !== 'sequential' || (coversEnough(covered.alwaysValid) && coversEnough(covered.alwaysValidUplift)))
    )
  })
  return isRight && (group !== 'effects' || hasPlannedPower(result))
}

/** True if the group sequential test finds the effect as often as the fixed test for which the size is planned. */
function hasPlannedPower({ tally: { methods, rules }, runs }: CellResult): boolean {
  const power = rules.plannedTest.rightShips / runs
  const own = methods.group_sequential && methods.group_sequential.rightShips / runs
  return own === undefined || own >= power - TOLERANCE * Math.sqrt((2 * power * (1 - power)) / runs)
}

export const percent = (share: number, digits = 1) => `${(100 * share).toFixed(digits)} %`
export const share = ({ count, of }: Count) => (of === 0 ? '–' : percent(count / of))

/** Puts the result of a cell into a line of text. */
export function describeCell(cell: Cell, result: CellResult): string {
  const { methods, rules } = result.tally
  const all: [string, Tally | undefined][] = [
    ...cell.methods.map((method) => [method, methods[method]] as [string, Tally | undefined]),
    ...RULES.map((rule: Rule) => [rule, rules[rule]] as [string, Tally | undefined]),
  ]
  const figures = all.flatMap(([name, tally]) => {
    if (!tally) return []
    const { runs, falseDecisions, falsePasses, falseAlerts, rightShips, users, regret, blocked } = tally
    const parts = [`${name} ${percent(falseDecisions / runs)}`]
    if (cell.conditions.isHarmful) parts.push(`passed ${percent(falsePasses / runs)}`)
    if (cell.group === 'effects')
      parts.push(
        `power ${percent(rightShips / runs)}, ${(users / runs / (cell.conditions.plannedUsers ?? 1)).toFixed(2)} sizes, regret ${percent(regret / runs)}`,
      )
    if (falseAlerts > 0) parts.push(`alerts ${percent(falseAlerts / runs)}`)
    if (blocked > 0) parts.push(`blocked ${percent(blocked / runs)}`)
    return parts.join(' ')
  })
  const covered = methods[cell.methods[0] as 'fixed']?.covered
  const coverage = covered ? INTERVALS.map((name) => share(covered[name])).join(' ') : ''
  return `${cell.group}: ${cell.name} (${result.runs}) | ${figures.join('; ')} | covered ${coverage}${isAsStated(cell, result) ? '' : ' NOT AS STATED'}`
}
