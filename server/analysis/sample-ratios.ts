import { anytimeExclusionRates, exclusionRatesOverPeriods } from '../statistics/exclusion-rates.ts'
import { anytimeSampleRatio, MISMATCH_THRESHOLD, sampleRatioOverPeriods } from '../statistics/sample-ratio.ts'
import { excludedOf, exposedOf } from './counts.ts'
import type { RunStatistics, Suspect, UnitCounts, Variant } from './statistics.ts'

/** Checks that the variants have as many users as allocated; if not, finds the groups of users that deviate. */

type RatioStatus = 'ok' | 'no_data' | 'unexpected_variant' | 'single_variant' | 'zero_variance'
/**
 * The result of a sample-ratio test. The sequential p-value is valid at any time and decides `isMismatch` during the
 * run. The chi-square test is valid once, when the run has ended, and decides `isMismatch` then, if every expected
 * number is at least 5; otherwise the sequential p-value still does.
 */
export type RatioCheck = {
  status: RatioStatus
  chiSquare: number | null
  degreesOfFreedom: number
  pValue: number
  sequentialPValue: number | null
  isMismatch: boolean
}
type Cause = {
  by: string
  value: string
  of: 'assigned' | 'exposed'
  /** The p-value of these users alone, times the number of tested values (Bonferroni). */
  pValue: number
  /** All other users agree with the allocation. */
  explainsAll: boolean
  variants: { variantId: number; variantName: string; users: number; expected: number }[]
}
export type SampleRatios = {
  assigned: RatioCheck
  exposed: RatioCheck
  /** The test that every variant excludes users at the same rate. */
  exclusions: RatioCheck
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
  const isTested = ({ enabled }: Variant) => enabled || of === 'drawn'
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

function checkRatio(statistics: RunStatistics, of: Count): RatioCheck {
  const periods = periodsOf(statistics, statistics.units, of)
  const test = sampleRatioOverPeriods(periods)
  return checkOf(statistics, test, test.status === 'ok' ? anytimeSampleRatio(periods).pValue : null)
}

type Test = Omit<RatioCheck, 'sequentialPValue'> & { isApproximable: boolean }

function checkOf({ hasEnded }: RunStatistics, test: Test, sequentialPValue: number | null): RatioCheck {
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
function checkExclusions(statistics: RunStatistics): RatioCheck {
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
  const { sequentialPValue } = isDrawn ? ratios.assigned : ratios.exposed
  const found = expectations(statistics, periodsOf(statistics, statistics.units, suspicious))
  const counts = found.map(({ variantId, users, expected }) => {
    const name = statistics.variants.find((variant) => variant.variantId === variantId)?.variantName
    return `${users} in ${name} (${Math.round(expected)} expected)`
  })
  const [who, fault] = isDrawn ? ['assigned', 'the draw'] : ['exposed', 'whether exposures are lost']
  return [
    `The ${who} users deviate from the allocation: ${counts.join(', ')}. For a single look, chance does this in fewer ` +
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
        variants: expectations(statistics, periods),
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

function expectations({ variants }: RunStatistics, periods: readonly Period[]): Cause['variants'] {
  return variants.map(({ variantId, variantName }, index) => {
    const expected = periods.map(({ counts, allocation }) => {
      const users = counts.reduce((sum, count) => sum + count, 0)
      return (users * (allocation[index] as number)) / allocation.reduce((sum, share) => sum + share, 0)
    })
    return {
      variantId,
      variantName,
      users: periods.reduce((sum, { counts }) => sum + (counts[index] as number), 0),
      expected: expected.reduce((sum, count) => sum + count, 0),
    }
  })
}
