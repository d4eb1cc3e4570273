import { anytimeExclusionRates, exclusionRatesOverPeriods } from '../statistics/exclusion-rates.ts'
import { anytimeSampleRatio, MISMATCH_THRESHOLD, sampleRatioOverPeriods } from '../statistics/sample-ratio.ts'
import { excludedOf, exposedOf, sum } from './counts.ts'
import { formatCount } from './format-figures.ts'
import type { RunStatistics, Suspect, UnitCounts, Variant } from './statistics.ts'

/** Checks that the variants have as many users as allocated; if not, finds the groups of users that deviate. */

type RatioStatus = 'ok' | 'no_data' | 'unexpected_variant' | 'single_variant' | 'zero_variance'
/**
 * The result of a sample-ratio test. The sequential p-value is valid at any time and decides `isMismatch` during the
 * run. The chi-square test is valid once, when the run has ended, and decides `isMismatch` then, if every expected
 * number is at least 5; otherwise the sequential p-value still does.
 */
export type RatioTest = {
  status: RatioStatus
  chiSquare: number | null
  degreesOfFreedom: number
  pValue: number
  sequentialPValue: number | null
  isMismatch: boolean
}
/** The users of a variant whom the platform drew, and the number by the allocation. */
export type SharedUsers = { variantId: number; variantName: string; users: number; expected: number }
/**
 * A test of the numbers of users, with the numbers. The assigned users are tested in all variants, the exposed ones in
 * the enabled variants.
 */
export type RatioCheck = RatioTest & { variants: SharedUsers[] }
type Cause = {
  by: string
  value: string
  of: 'assigned' | 'exposed'
  /** The p-value of these users alone, times the number of tested values (Bonferroni). */
  pValue: number
  /** All other users agree with the allocation. */
  explainsAll: boolean
  variants: SharedUsers[]
}
export type SampleRatios = {
  assigned: RatioCheck
  exposed: RatioCheck
  /** The test that every variant excludes users at the same rate. */
  exclusions: RatioTest
  causes: Cause[]
}

type Count = 'drawn' | 'drawnExposed'
type Counts = Suspect['counts']
type Period = { counts: number[]; allocation: number[] }

/** Tests the numbers of assigned, exposed and excluded users. On a mismatch, looks for causes among the suspects. */
export function checkRatios(statistics: RunStatistics): SampleRatios {
  const assigned = checkRatio(statistics, 'drawn')
  const exposed = checkRatio(statistics, 'drawnExposed')
  return {
    assigned,
    exposed,
    exclusions: checkExclusions(statistics),
    causes: [
      ...(assigned.isMismatch ? findCauses(statistics, 'drawn') : []),
      ...(exposed.isMismatch && !assigned.isMismatch ? findCauses(statistics, 'drawnExposed') : []),
    ],
  }
}

/**
 * Returns the counts and shares of each allocation period in which a variant has a share. The draw is tested among all
 * variants; a disabled variant has no share in its later periods. Exposures are tested among the enabled variants:
 * users who were drawn to a variant that was then disabled are exposed to nothing any more.
 */
function periodsOf({ variants, periods }: RunStatistics, counts: Counts, of: Count): Period[] {
  const isTested = isTestedIn(of)
  return periods
    .map(({ period, shares }) => ({
      counts: variants.map((variant) =>
        counts
          .filter((row) => row.variantId === variant.variantId && row.period === period && isTested(variant))
          .reduce((sum, row) => sum + row[of], 0),
      ),
      allocation: variants.map((variant) => (isTested(variant) ? (shares[variant.variantId] ?? 0) : 0)),
    }))
    .filter(({ allocation }) => allocation.some((share) => share > 0))
}

const isTestedIn =
  (of: Count) =>
  ({ enabled }: Variant) =>
    enabled || of === 'drawn'

function checkRatio(statistics: RunStatistics, of: Count): RatioCheck {
  const periods = periodsOf(statistics, statistics.units, of)
  const test = sampleRatioOverPeriods(periods)
  const check = checkOf(statistics, test, test.status === 'ok' ? anytimeSampleRatio(periods).pValue : null)
  return { ...check, variants: expectations(statistics, periods, of) }
}

type Test = Omit<RatioTest, 'sequentialPValue'> & { isApproximable: boolean }

function checkOf({ hasEnded }: RunStatistics, test: Test, sequentialPValue: number | null): RatioTest {
  const { status, chiSquare, degreesOfFreedom, pValue } = test
  const isMismatch =
    hasEnded && test.isApproximable
      ? test.isMismatch
      : status === 'unexpected_variant' || (sequentialPValue !== null && sequentialPValue < MISMATCH_THRESHOLD)
  return { status, chiSquare, degreesOfFreedom, pValue, sequentialPValue, isMismatch }
}

/**
 * Tests the enabled variants: users of a variant that was switched off because it was broken are often excluded.
 * Crossovers are tested in the periods after which the shares did not change: who was given another variant later was
 * drawn by the later shares.
 */
function checkExclusions(statistics: RunStatistics): RatioTest {
  const { variants, periods, units } = statistics
  const enabled = variants.filter((variant) => variant.enabled)
  const lastShares = JSON.stringify(sharesOf(periods.at(-1), variants))
  const lastChange = periods.findLastIndex((period) => JSON.stringify(sharesOf(period, variants)) !== lastShares)
  const counts = periods.map(({ period }, index) =>
    enabled.map(({ variantId }) => {
      const rows = units.filter((row) => row.variantId === variantId && row.period === period)
      const total = (countOf: (row: UnitCounts) => number) => rows.reduce((sum, row) => sum + countOf(row), 0)
      return {
        assigned: total(exposedOf),
        excluded: total((row) => excludedOf(row) - row.excluded.crossover),
        crossovers: index > lastChange ? total((row) => row.excluded.crossover) : 0,
      }
    }),
  )
  const test = exclusionRatesOverPeriods(counts)
  return checkOf(statistics, test, test.status === 'ok' ? anytimeExclusionRates(counts) : null)
}

const sharesOf = (period: RunStatistics['periods'][number] | undefined, variants: readonly Variant[]) =>
  variants.map(({ variantId }) => period?.shares[variantId] ?? 0)

/** A chi-square p-value below this threshold is told even if it does not block. */
const SUSPICIOUS = 1e-4

/**
 * Warns of counts that deviate from the allocation by a chi-square p-value below 0.0001 while the sequential test, which
 * allows for all looks, does not block. The exposed users are named only if the assigned ones are in order.
 */
export function ratioWarnings(statistics: RunStatistics, ratios: SampleRatios): string[] {
  const suspicious = (['drawn', 'drawnExposed'] as const).find((of) => {
    const { status, pValue, isMismatch } = of === 'drawn' ? ratios.assigned : ratios.exposed
    const { isApproximable } = sampleRatioOverPeriods(periodsOf(statistics, statistics.units, of))
    return status === 'ok' && isApproximable && !isMismatch && pValue < SUSPICIOUS
  })
  if (!suspicious) return []
  const isDrawn = suspicious === 'drawn'
  const { sequentialPValue, variants } = isDrawn ? ratios.assigned : ratios.exposed
  const [who, fault] = isDrawn ? ['assigned', 'the draw'] : ['exposed', 'whether exposures are lost']
  return [
    `The ${who} users deviate from the allocation: ${sharedText(variants)}. For a single look, chance does this in fewer ` +
      `than 1 of 10,000 runs. Looks are many, so this does not block: the sequential p-value, which blocks below ` +
      `${MISMATCH_THRESHOLD}, is ${sequentialPValue?.toPrecision(2)}. Check ${fault}.`,
  ]
}

/**
 * Finds values whose users alone deviate from the allocation by more than chance allows among so many values. If there
 * are values without whose users all others agree with the allocation, only these values are reported.
 * @returns at most 10 causes, in ascending order of p-values
 */
function findCauses(statistics: RunStatistics, of: Count): Cause[] {
  const { suspects } = statistics
  const found = suspects.flatMap((suspect): Cause[] => {
    const periods = periodsOf(statistics, suspect.counts, of)
    const test = sampleRatioOverPeriods(periods)
    const pValue = Math.min(1, test.pValue * suspects.length)
    const others = withoutUsersOf(statistics, suspect)
    // A value that all users have explains nothing.
    if (test.status === 'no_data' || !(pValue < MISMATCH_THRESHOLD) || others.every((row) => row[of] === 0)) return []
    return [
      {
        by: suspect.by,
        value: suspect.value,
        of: of === 'drawn' ? 'assigned' : 'exposed',
        pValue,
        explainsAll: !sampleRatioOverPeriods(periodsOf(statistics, others, of)).isMismatch,
        variants: expectations(statistics, periods, of),
      },
    ]
  })
  const sufficient = found.filter(({ explainsAll }) => explainsAll)
  return (sufficient.length > 0 ? sufficient : found).sort((one, other) => one.pValue - other.pValue).slice(0, 10)
}

function withoutUsersOf({ units }: RunStatistics, { counts }: Suspect): Counts {
  return units.map((row) => {
    const own = counts.filter(({ variantId, period }) => variantId === row.variantId && period === row.period)
    const total = (of: Count) => own.reduce((sum, count) => sum + count[of], 0)
    return {
      variantId: row.variantId,
      period: row.period,
      drawn: Math.max(0, row.drawn - total('drawn')),
      drawnExposed: Math.max(0, row.drawnExposed - total('drawnExposed')),
    }
  })
}

/** Adds up the users of each tested variant over the periods, with the numbers that the allocation gives. */
function expectations({ variants }: RunStatistics, periods: readonly Period[], of: Count): SharedUsers[] {
  const isTested = isTestedIn(of)
  return variants.flatMap((variant, index) => {
    const { variantId, variantName } = variant
    const users = periods.map(({ counts }) => counts[index] as number)
    const expected = periods.map(
      ({ counts, allocation }) => (sum(counts) * (allocation[index] as number)) / sum(allocation),
    )
    return isTested(variant) ? [{ variantId, variantName, users: sum(users), expected: sum(expected) }] : []
  })
}

/** Writes "2,267 in control (2,139 expected), 2,010 in treatment (2,139 expected)". */
export const sharedText = (shared: readonly SharedUsers[]): string =>
  shared
    .map(
      ({ variantName, users, expected }) =>
        `${formatCount(users)} in ${variantName} (${formatCount(expected)} expected)`,
    )
    .join(', ')
