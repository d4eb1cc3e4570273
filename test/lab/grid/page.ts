import type { Method } from '../../../server/analysis/statistics.ts'
import { type Cell, cells, GROUP_SEQUENTIAL_SIZE, type Group, POWER } from './cells.ts'
import { coversEnough, isRare, isSeldom, percent, share } from './describe.ts'
import { type Count, INTERVALS, type IntervalName, type Rule, type Tally } from './measure.ts'
import { type CellResult, type GridResults, keyOf } from './store.ts'

/** Writes the results of the grid as a section of docs/laboratory.md. */

export const METHOD_NAMES = {
  sequential: 'sequential',
  group_sequential: 'group sequential',
  fixed: 'fixed',
  bayesian: 'Bayesian',
} as const satisfies Record<Method, string>
export const RULE_NAMES = {
  plain: 'test at every look',
  growthbook: "GrowthBook's rule",
  plannedTest: 'test once, at the planned size',
} as const satisfies Record<Rule, string>
const METHODS = Object.keys(METHOD_NAMES) as Method[]

type Row = { cell: Cell; result: CellResult }

/** Returns the cells of some groups that have a result. */
export function rowsOf({ cells: results }: GridResults, ...groups: Group[]): Row[] {
  return cells.flatMap((cell) => {
    const result = results[keyOf(cell)]
    return groups.includes(cell.group) && result ? [{ cell, result }] : []
  })
}

const table = (head: readonly string[], rows: readonly (readonly string[])[]) => [
  ...[head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`),
  '',
]

/** Marks a share above 5 % by more than the simulation's error. */
const rare = (count: number, runs: number) =>
  isRare(count, runs) ? percent(count / runs) : `**${percent(count / runs)}**`

/** Marks a share above 1 % by more than the simulation's error. */
const seldom = (count: number, runs: number) =>
  isSeldom(count, runs) ? percent(count / runs) : `**${percent(count / runs)}**`

const alarms = (tally: Tally | undefined) => (tally ? rare(tally.falseDecisions, tally.runs) : '')

const enough = (count: Count | undefined) =>
  !count || count.of === 0 ? '' : coversEnough(count) ? share(count) : `**${share(count)}**`

function falseDecisions(rows: readonly Row[]): string[] {
  return table(
    [
      'experiments without a difference',
      ...METHODS.map((method) => METHOD_NAMES[method]),
      'alerts',
      'blocked',
      'always-valid interval covers',
      RULE_NAMES.plain,
      RULE_NAMES.growthbook,
    ],
    rows.map(({ cell, result: { runs, tally } }) => {
      const isPooled = cell.conditions.periods === 1
      return [
        `${cell.name} (${runs})`,
        ...METHODS.map((method) => alarms(tally.methods[method])),
        rare(Math.max(...cell.methods.map((method) => tally.methods[method]?.falseAlerts ?? 0)), runs),
        seldom(Math.max(...cell.methods.map((method) => tally.methods[method]?.blocked ?? 0)), runs),
        enough(tally.methods[cell.methods[0] as Method]?.covered.alwaysValid),
        isPooled ? percent(tally.rules.plain.falseDecisions / runs) : '',
        isPooled ? percent(tally.rules.growthbook.falseDecisions / runs) : '',
      ]
    }),
  )
}

function falsePasses(rows: readonly Row[]): string[] {
  const methods = METHODS.filter((method) => rows.some(({ cell }) => cell.methods.includes(method)))
  return table(
    [
      'a guardrail at its margin',
      ...methods.flatMap((method) => [`${METHOD_NAMES[method]}: passed`, `${METHOD_NAMES[method]}: shipped`]),
    ],
    rows.map(({ cell, result: { runs, tally } }) => [
      `${cell.name} (${runs})`,
      ...methods.flatMap((method) => {
        const own = tally.methods[method]
        return own ? [rare(own.falsePasses, runs), rare(own.falseShips, runs)] : ['', '']
      }),
    ]),
  )
}

function power(rows: readonly Row[]): string[] {
  const columns = [
    ...(['plannedTest'] as const).map((rule) => ({
      name: RULE_NAMES[rule],
      of: (r: CellResult) => r.tally.rules[rule],
    })),
    ...METHODS.map((method) => ({ name: METHOD_NAMES[method], of: (r: CellResult) => r.tally.methods[method] })),
    ...(['growthbook'] as const).map((rule) => ({
      name: RULE_NAMES[rule],
      of: (r: CellResult) => r.tally.rules[rule],
    })),
  ]
  return table(
    ['experiments with an effect', ...columns.map(({ name }) => name)],
    rows.map(({ cell, result }) => [
      `${cell.name} (${result.runs})`,
      ...columns.map(({ of }) => {
        const tally = of(result)
        if (!tally) return ''
        const { rightShips, users, regret, runs } = tally
        return `${percent(rightShips / runs, 0)}, ${relative(users, runs, cell)}, ${percent(regret / runs, 0)}`
      }),
    ]),
  )
}

/** Mean users until the decision, as a multiple of the planned size. */
const relative = (users: number, runs: number, { conditions }: Cell) =>
  (users / runs / (conditions.plannedUsers ?? 1)).toFixed(2)

const INTERVAL_NAMES: Record<IntervalName, string> = {
  difference: 'interval of the difference, at the last look',
  uplift: 'interval of the uplift, at the last look',
  credible: 'credible interval of the difference, at the last look',
  planned: 'intervals of the difference at planned looks, at all of them',
  alwaysValid: 'always-valid interval of the difference, at all looks',
  alwaysValidUplift: 'always-valid interval of the uplift, at all looks',
}

/** All methods of a cell show the same intervals, but for planned looks, of which a sequential analysis has none. */
const methodFor = ({ methods }: Cell, name: IntervalName) =>
  (name === 'planned' ? methods.find((method) => method !== 'sequential') : methods[0]) as Method

function coverage(rows: readonly Row[]): string[] {
  return table(
    ['interval', 'covers the truth in', 'lowest cell', 'in'],
    INTERVALS.map((name) => {
      const counts = rows
        .map(({ cell, result }) => ({ cell, count: result.tally.methods[methodFor(cell, name)]?.covered[name] }))
        .filter((row): row is { cell: Cell; count: Count } => (row.count?.of ?? 0) > 0)
      const total = counts.reduce((sum, { count }) => ({ count: sum.count + count.count, of: sum.of + count.of }), {
        count: 0,
        of: 0,
      })
      const lowest = counts.toSorted(
        (one, other) => one.count.count / one.count.of - other.count.count / other.count.of,
      )[0]
      return [INTERVAL_NAMES[name], share(total), enough(lowest?.count), lowest?.cell.name ?? '']
    }),
  )
}

/** The largest share of false decisions of each method, over all cells. */
function worst(rows: readonly Row[]): string[] {
  return METHODS.flatMap((method) => {
    const own = rows.flatMap(({ cell, result }) => {
      const tally = result.tally.methods[method]
      return tally ? [{ cell, share: tally.falseDecisions / tally.runs }] : []
    })
    const [most] = own.toSorted((one, other) => other.share - one.share)
    return most
      ? [`- ${METHOD_NAMES[method]}: ${own.length} cells, at most ${percent(most.share)} (${most.cell.name})`]
      : []
  })
}

/** Returns the multiple of the planned size at which a method has the power, between two looks; null where it never has. */
function sizeForPower({ shipsByLook, runs }: Tally, { conditions }: Cell, power: number): number | null {
  let before = 0
  for (const [look, ships] of shipsByLook.entries()) {
    const now = before + ships / runs
    if (now >= power) {
      const part = look + (power - before) / (now - before)
      return ((part / conditions.looks) * conditions.users) / (conditions.plannedUsers ?? 1)
    }
    before = now
  }
  return null
}

const range = (numbers: readonly number[], show: (number: number) => string) =>
  numbers.length === 0 ? 'none' : `${show(Math.min(...numbers))} to ${show(Math.max(...numbers))}`
const times = (size: number) => size.toFixed(2)

/** Says what looking costs, beside a fixed test of the planned size. */
function cost(rows: readonly Row[]): string[] {
  const powers = (of: (result: CellResult) => Tally | undefined) =>
    rows.flatMap(({ result }) => of(result) ?? []).map(({ rightShips, runs }) => rightShips / runs)
  const sizes = (of: (result: CellResult) => Tally | undefined) =>
    rows.flatMap(({ cell, result }) => {
      const tally = of(result)
      return tally ? [tally.users / tally.runs / (cell.conditions.plannedUsers ?? 1)] : []
    })
  const sequential = rows.flatMap(({ cell, result }) => {
    const tally = result.tally.methods.sequential
    return (tally && sizeForPower(tally, cell, POWER)) ?? []
  })
  return [
    `- fixed: ${range(
      powers(({ tally }) => tally.methods.fixed),
      (share) => percent(share, 0),
    )} power at its planned size`,
    `- group sequential, planned ${GROUP_SEQUENTIAL_SIZE} times as large: ${range(
      powers(({ tally }) => tally.methods.group_sequential),
      (share) => percent(share, 0),
    )} power,`,
    `  and ${range(
      sizes(({ tally }) => tally.methods.group_sequential),
      times,
    )} times the size of the fixed test until the decision, in the mean`,
    `- sequential: ${percent(POWER, 0)} power at ${range(sequential, times)} times the size of the fixed test, and ${range(
      sizes(({ tally }) => tally.methods.sequential),
      times,
    )}`,
    '  times until the decision, in the mean; for this it may be read at any time',
    '',
  ]
}

const INTRODUCTION = `
The scenarios below test one function each. The grid tests decisions. It simulates whole experiments, gives the sums of
each look to the analysis of the platform (\`server/analysis/\`), and records what the analysis decides, as the monitor of
the platform does. The experiments differ in what is measured, the share of users with a value other than 0, the
control's part of the users, covariates, variants, allocation periods, primary metrics, guardrails, planned size and
looks. Counts vary more than Poisson counts, revenue is log-normal, and ratios are clicks per view. There are forty looks
up to 20,000 users: "even" looks have as many users between any two, others as many times the users, from 100. Every pair
of levels of two factors occurs in a cell. All methods of a cell analyse the same experiments. Outside the first cells,
methods with planned looks are looked at when a look is due, and at every third of the others.`

const FALSE_DECISIONS = `
Nothing differs between the variants. A decision is false if it ships or stops any treatment at any look. At most 5 % of
the experiments may have one, and 3 simulation errors more; larger shares are bold. Alerts are always-valid tests that a
primary metric or guardrail is worse, whatever the method; 5 % hold for them, too. The data are clean, so that at most
1 % of the experiments may be blocked at any look. "Wider" and "narrower" treatments have the same mean, and values that
vary more or less. Two rules are shown for comparison: a test at 5 % that is read at every look, and GrowthBook's
sequential engine with its default settings (a confidence sequence of the relative difference, tightest at 5,000 users,
shown once a variant has a total of 150). Neither corrects for several treatments, and both are left out where the
allocation changes, for which GrowthBook starts a new phase.`

const MARGINS = `
The treatment is 50 % better in the primary metric and worse by exactly the margin in the guardrail. At most 5 % of the
experiments may pass the guardrail or ship the treatment.`

const POWERS = `
Each column has three figures: how often the better treatment is shipped; the mean users until the decision, as a multiple
of the size that is planned for a fixed test with 80 % power; and the regret. The regret is the share of users who are
given the worse variant, among ten times the planned users, where an experiment without a winner keeps the control.
Experiments that are not decided end at 2.5 times the planned size.`

/** Makes the lines of the section. */
export function gridSection(results: GridResults): string[] {
  const same = rowsOf(results, 'named', 'design', 'variances')
  const effects = rowsOf(results, 'effects')
  const minutes = Object.values(results.cells).reduce((sum, { seconds }) => sum + seconds, 0) / 60
  return [
    '## The grid',
    INTRODUCTION,
    '',
    `\`npm run lab -- --grid\` measures all cells (${Math.round(minutes)} minutes of one core) and writes this section. The`,
    'results of finished cells are kept in laboratory/grid.json: an interrupted grid goes on, another code starts anew.',
    '',
    '![False decisions of all cells](laboratory/grid-false-decisions.svg)',
    '',
    '### False decisions',
    FALSE_DECISIONS,
    '',
    ...worst(same),
    '',
    ...falseDecisions(same),
    '### Guardrails at their margin',
    MARGINS,
    '',
    ...falsePasses(rowsOf(results, 'margins')),
    '### Intervals',
    '',
    'The first treatment of all cells above.',
    '',
    ...coverage(rowsOf(results, 'named', 'design', 'variances', 'margins')),
    '### Power, users and regret',
    POWERS,
    '',
    ...cost(effects),
    '![Power and users](laboratory/grid-power.svg)',
    '',
    ...power(effects),
  ]
}
