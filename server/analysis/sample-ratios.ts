import { exclusionRates } from '../statistics/exclusion-rates.ts'
import { MISMATCH_THRESHOLD, sampleRatioOverPeriods, sequentialSampleRatio } from '../statistics/sample-ratio.ts'
import type { RunStatistics, Suspect, UnitCounts } from './statistics.ts'

/** Checks that the variants have the users that they should have, and if not, among which users the fault lies. */

export type RatioStatus = 'ok' | 'no_data' | 'unexpected_variant' | 'single_variant' | 'zero_variance'
/**
 * The chi-square is for a planned end; the sequential p-value may be looked at at any time, and is what blocks until
 * then.
 */
export type RatioCheck = {
  status: RatioStatus
  chiSquare: number | null
  degreesOfFreedom: number
  pValue: number
  sequentialPValue: number | null
  isMismatch: boolean
}
export type Cause = {
  by: string
  value: string
  of: 'assigned' | 'exposed'
  /** The p-value of these users alone, times how many values were looked at. */
  pValue: number
  /** Everybody else agrees with the allocation. */
  explainsAll: boolean
  variants: { variantId: number; users: number; expected: number }[]
}
export type SampleRatios = {
  assigned: RatioCheck
  exposed: RatioCheck
  /** The test that users are left out at the same rate in every variant. */
  exclusions: Omit<RatioCheck, 'sequentialPValue'>
  causes: Cause[]
}

type Count = 'drawn' | 'drawnExposed'
type Counts = Suspect['counts']
type Period = { counts: number[]; allocation: number[] }

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

/** The periods in which anybody was drawn, or could have been. */
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

/** Evidence of independent periods is multiplied: under a right allocation the product is a martingale too. */
function sequentialPValue(periods: readonly Period[]): number {
  const evidence = periods.map(({ counts, allocation }) => {
    const drawn = counts.filter((_, index) => (allocation[index] as number) > 0)
    const shares = allocation.filter((share) => share > 0)
    return drawn.length < 2 ? 0 : (sequentialSampleRatio([drawn], shares).logBayesFactors[0] as number)
  })
  return Math.min(1, Math.exp(-evidence.reduce((sum, log) => sum + log, 0)))
}

/** Users who met a variant and are left out, for whichever reason. */
const excludedOf = ({ excluded }: UnitCounts) => Object.values(excluded).reduce((sum, count) => sum + count, 0)
/** Users who met a variant, left out or not. */
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
 * Finds values whose users alone are off by more than chance allows among so many values. Where taking one away leaves
 * everybody else in order, only such values are reported.
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
        explainsAll: !sampleRatioOverPeriods(periodsOf(statistics, withoutThem(statistics, suspect), of)).isMismatch,
        variants: expectations(statistics, periods),
      },
    ]
  })
  const whole = found.filter(({ explainsAll }) => explainsAll)
  return (whole.length > 0 ? whole : found).sort((one, other) => one.pValue - other.pValue).slice(0, 10)
}

function withoutThem({ units }: RunStatistics, { counts }: Suspect): Counts {
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
  return variants.map(({ variantId }, index) => {
    const expected = periods.map(({ counts, allocation }) => {
      const users = counts.reduce((sum, count) => sum + count, 0)
      return (users * (allocation[index] as number)) / allocation.reduce((sum, share) => sum + share, 0)
    })
    return {
      variantId,
      users: periods.reduce((sum, { counts }) => sum + (counts[index] as number), 0),
      expected: expected.reduce((sum, count) => sum + count, 0),
    }
  })
}
