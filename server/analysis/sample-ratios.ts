import { exclusionRates } from '../statistics/exclusion-rates.ts'
import { MISMATCH_THRESHOLD, sampleRatioOverPeriods, sequentialSampleRatio } from '../statistics/sample-ratio.ts'
import type { RunStatistics, Suspect, UnitCounts } from './statistics.ts'

/** Checks that the variants have as many users as allocated; if not, finds the groups of users that deviate. */

type RatioStatus = 'ok' | 'no_data' | 'unexpected_variant' | 'single_variant' | 'zero_variance'
/**
 * The result of a sample-ratio test. The chi-square test is valid once, when the run has ended, and decides
 * `isMismatch` then. The sequential p-value is valid at any time and decides `isMismatch` during the run.
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
  exclusions: Omit<RatioCheck, 'sequentialPValue'>
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

/** Returns the counts and shares of each allocation period in which a variant has a share. */
function periodsOf({ variants, periods }: RunStatistics, counts: Counts, of: Count): Period[] {
  return periods
    .map(({ period, shares }) => ({
      counts: variants.map(({ variantId }) =>
        counts.reduce((sum, row) => sum + (row.variantId === variantId && row.period === period ? row[of] : 0), 0),
      ),
      allocation: variants.map(({ variantId }) => shares[variantId] ?? 0),
    }))
    .filter(({ allocation }) => allocation.some((share) => share > 0))
}

function checkRatio(statistics: RunStatistics, of: Count): RatioCheck {
  const periods = periodsOf(statistics, statistics.units, of)
  const test = sampleRatioOverPeriods(periods)
  const sequential = test.status === 'ok' ? sequentialPValue(periods) : null
  return {
    status: test.status,
    chiSquare: test.chiSquare,
    degreesOfFreedom: test.degreesOfFreedom,
    pValue: test.pValue,
    sequentialPValue: sequential,
    isMismatch:
      test.status === 'unexpected_variant' ||
      (statistics.hasEnded ? test.isMismatch : sequential !== null && sequential < MISMATCH_THRESHOLD),
  }
}

/**
 * Computes the always-valid p-value over all periods. Periods are independent, so their Bayes factors are multiplied:
 * under the correct allocation the product is a martingale, too.
 */
function sequentialPValue(periods: readonly Period[]): number {
  const evidence = periods.map(({ counts, allocation }) => {
    const drawn = counts.filter((_, index) => (allocation[index] as number) > 0)
    const shares = allocation.filter((share) => share > 0)
    return drawn.length < 2 ? 0 : (sequentialSampleRatio([drawn], shares).logBayesFactors[0] as number)
  })
  return Math.min(1, Math.exp(-evidence.reduce((sum, log) => sum + log, 0)))
}

/** Counts users who met a variant and are excluded, for any reason. */
const excludedOf = ({ excluded }: UnitCounts) => Object.values(excluded).reduce((sum, count) => sum + count, 0)
/** Counts users who met a variant, excluded or not. */
export const exposedOf = (row: UnitCounts) => row.users + excludedOf(row)

function checkExclusions({ variants, units }: RunStatistics): SampleRatios['exclusions'] {
  const test = exclusionRates(
    variants.map(({ variantId }) => {
      const own = units.filter((row) => row.variantId === variantId)
      const total = (countOf: (row: UnitCounts) => number) => own.reduce((sum, row) => sum + countOf(row), 0)
      return { assigned: total(exposedOf), excluded: total(excludedOf) }
    }),
  )
  return {
    status: test.status,
    chiSquare: test.chiSquare,
    degreesOfFreedom: test.degreesOfFreedom,
    pValue: test.pValue,
    isMismatch: test.isMismatch,
  }
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
    if (test.status === 'no_data' || !(pValue < MISMATCH_THRESHOLD)) return []
    return [
      {
        by: suspect.by,
        value: suspect.value,
        of: of === 'drawn' ? 'assigned' : 'exposed',
        pValue,
        explainsAll: !sampleRatioOverPeriods(periodsOf(statistics, withoutUsersOf(statistics, suspect), of)).isMismatch,
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
