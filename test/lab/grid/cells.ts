import type { Method } from '../../../server/analysis/statistics.ts'
import { normalQuantile } from '../../../server/statistics/distributions.ts'
import { coveringDesign } from './covering.ts'
import { momentsOf, type ValueKind } from './population.ts'

/** The truth of a simulated experiment, its plan and its looks. */
export type Conditions = {
  kind: ValueKind
  /** The share of users with a value other than 0, in 0..1, in the first allocation period. */
  share: number
  /** The control's part of the users in per cent. The treatments share the rest evenly. */
  control: number
  hasCovariate: boolean
  /** The number of variants, the control included. */
  variants: number
  /** The number of allocation periods. The second one allocates 50/50 (20/80 after 50/50), the third as the first. */
  periods: 1 | 3
  primaries: number
  guardrails: number
  /** The margin of every guardrail, relative to the control, and how the metric states it. */
  margin: number
  marginType: 'relative' | 'absolute'
  guardrailDirection: 'increase' | 'decrease'
  /** Every treatment is worse by exactly the margin in every guardrail. */
  isHarmful: boolean
  /** The users of all variants at the last look, and the number of looks. */
  users: number
  looks: number
  /** even: as many users between any two looks. geometric: as many times the users, from 100. */
  spacing: 'even' | 'geometric'
  /** The planned users of all variants; null: none are planned. A group sequential test is planned larger. */
  plannedUsers: number | null
  plannedEffect: number | null
  /** The true relative change of every primary metric in every treatment. */
  uplift: number
  /** Multiplies the values of the treatments and divides how many users have one: equal means, unequal variances. */
  spread: number
}

/** Conditions that are simulated `runs` times. Every method analyses the same data. */
export type Cell = { group: Group; name: string; conditions: Conditions; methods: readonly Method[]; runs: number }
export type Group = 'named' | 'design' | 'variances' | 'margins' | 'effects'

export const CONFIDENCE = 0.95
export const GROUP_SEQUENTIAL_SIZE = 1.05

const ALL: readonly Method[] = ['sequential', 'group_sequential', 'fixed', 'bayesian']
const RUNS = { named: 2000, other: 500 }

const PLAIN: Conditions = {
  kind: 'proportion',
  share: 0.1,
  control: 50,
  hasCovariate: false,
  variants: 2,
  periods: 1,
  primaries: 1,
  guardrails: 0,
  margin: 0.05,
  marginType: 'relative',
  guardrailDirection: 'increase',
  isHarmful: false,
  users: 20_000,
  looks: 40,
  spacing: 'geometric',
  plannedUsers: 10_000,
  plannedEffect: 0.1,
  uplift: 0,
  spread: 1,
}

function cell(group: Group, given: Partial<Conditions>, methods = ALL, runs = RUNS.other, name = ''): Cell {
  const conditions = { ...PLAIN, ...given }
  return { group, name: name || nameOf(conditions), conditions, methods, runs }
}

/** Experiments without any difference in which an earlier version decided falsely. */
const named: Cell[] = [
  cell('named', { share: 0.01, control: 90, plannedUsers: null }, ALL, RUNS.named),
  cell('named', { share: 0.005, control: 95, plannedUsers: null }, ALL, RUNS.named),
  cell('named', { kind: 'revenue', share: 0.02, control: 90, plannedUsers: null }, ALL, RUNS.named),
  cell('named', { spacing: 'even' }, ALL, RUNS.named),
  cell('named', { guardrails: 10, spacing: 'even' }, ALL, RUNS.named),
  cell('named', { variants: 10, spacing: 'even' }, ALL, RUNS.named),
]

const PAIRS: readonly (readonly Method[])[] = ALL.flatMap((one, index) =>
  ALL.slice(index + 1).map((other) => [one, other] as const),
)
/** Experiments without any difference, in which every pair of levels of two factors occurs. */
const design: Cell[] = coveringDesign(
  {
    kind: ['proportion', 'count', 'revenue', 'ratio'],
    share: [0.002, 0.01, 0.02, 0.1],
    control: [50, 90, 95, 10],
    hasCovariate: [false, true],
    variants: [2, 10],
    periods: [1, 3],
    primaries: [1, 2],
    guardrails: [0, 2],
    spacing: ['geometric', 'even'],
    plannedUsers: [10_000, null],
    methods: PAIRS,
  },
  48,
  1,
).map(({ methods, ...conditions }) => cell('design', conditions, methods))

/** Equal means and unequal variances: without any difference, the values of the treatment vary more, or less. */
const variances: Cell[] = (['count', 'revenue', 'ratio'] as const).flatMap((kind) =>
  [50, 90, 10].flatMap((control) =>
    [4, 0.25].map((spread) => cell('variances', { kind, control, spread }, ['sequential', 'fixed'])),
  ),
)

/** A guardrail that is worse by exactly its margin, beside a primary metric that is much better. */
const margins: Cell[] = [
  ...(['proportion', 'count', 'revenue', 'ratio'] as const).flatMap((kind) =>
    [50, 90, 10].map((control): Partial<Conditions> => ({ kind, control, share: 0.1, margin: 0.1 })),
  ),
  ...[50, 90, 10].flatMap((control): Partial<Conditions>[] => [
    { control, share: 0.01, margin: 0.2 },
    { control, share: 0.002, margin: 0.5, marginType: 'absolute', guardrailDirection: 'decrease' },
    { control, share: 0.0002, margin: 3, marginType: 'absolute', guardrailDirection: 'decrease' },
  ]),
].map((given) =>
  cell('margins', { ...given, guardrails: 1, isHarmful: true, uplift: 0.5 }, [
    'sequential',
    'fixed',
    'group_sequential',
  ]),
)

export const POWER = 0.8
/** The users of a fixed test of two variants that finds the uplift with 80 % power. */
function sizeOf(kind: ValueKind, share: number, control: number, uplift: number): number {
  const { mean, variance } = momentsOf(kind, share)
  const changed = momentsOf(kind, share * (1 + uplift)).variance
  const part = control / 100
  const z = normalQuantile(POWER) - normalQuantile((1 - CONFIDENCE) / 2)
  return Math.ceil((z ** 2 * (variance / part + changed / (1 - part))) / (uplift * mean) ** 2)
}

/** Experiments with an effect, which are looked at twenty times until a fixed test is done, and up to 2.5 times its size. */
const effects: Cell[] = (
  [
    ['proportion', 0.1, 50, 0.1],
    ['proportion', 0.1, 50, 0.05],
    ['proportion', 0.1, 50, 0.03],
    ['proportion', 0.01, 50, 0.1],
    ['proportion', 0.1, 90, 0.1],
    ['count', 0.1, 50, 0.1],
    ['revenue', 0.1, 50, 0.1],
    ['ratio', 0.1, 50, 0.1],
  ] as const
).map(([kind, share, control, uplift]) => {
  const planned = 20 * Math.ceil(sizeOf(kind, share, control, uplift) / 20)
  const given = { kind, share, control, uplift, plannedUsers: planned, plannedEffect: uplift }
  return cell('effects', { ...given, users: 2.5 * planned, looks: 50, spacing: 'even' })
})

export const cells: readonly Cell[] = [...named, ...design, ...variances, ...margins, ...effects]

/** Cells that a few experiments suffice for to show a gross fault, with the number of experiments. */
export const quickCells: readonly Cell[] = [
  ...[0, 1, 2, 3].map((index) => ({ ...(named[index] as Cell), runs: 30 })),
  ...[4, 5].map((index) => ({ ...(named[index] as Cell), runs: 12 })),
  cell('variances', { kind: 'revenue', control: 90, spread: 4 }, ['sequential', 'fixed'], 60),
  cell(
    'margins',
    {
      control: 90,
      share: 0.002,
      margin: 0.5,
      marginType: 'absolute',
      guardrailDirection: 'decrease',
      guardrails: 1,
      isHarmful: true,
      uplift: 0.5,
    },
    ALL,
    40,
  ),
]

/** Names what differs between cells. */
function nameOf(conditions: Conditions): string {
  const { kind, share, control, hasCovariate, variants, periods, primaries, guardrails, spacing, plannedUsers } =
    conditions
  const parts = [
    `${kind}${hasCovariate ? ' with covariate' : ''}`,
    percent(share),
    `${control}/${100 - control}`,
    variants > 2 ? `${variants} variants` : '',
    periods > 1 ? `${periods} periods` : '',
    primaries > 1 ? `${primaries} primaries` : '',
    guardrails > 0 ? `${guardrails} guardrail${guardrails > 1 ? 's' : ''}` : '',
    conditions.isHarmful ? `worse by the ${conditions.marginType} margin of ${percent(conditions.margin)}` : '',
    conditions.spread !== 1 ? `${conditions.spread > 1 ? 'wider' : 'narrower'} treatment` : '',
    conditions.uplift !== 0 && !conditions.isHarmful ? `+${percent(conditions.uplift)}` : '',
    plannedUsers === null ? 'no planned size' : `${plannedUsers} planned`,
    spacing === 'even' ? 'even looks' : '',
  ]
  return parts.filter((part) => part !== '').join(', ')
}

function percent(share: number) {
  return `${Number((100 * share).toPrecision(3))} %`
}
