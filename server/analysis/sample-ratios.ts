import { exclusionRates } from '../statistics/exclusion-rates.ts'
import { MISMATCH_THRESHOLD, sampleRatioOverPeriods, sequentialSampleRatio } from '../statistics/sample-ratio.ts'
import type { RunStatistics, Suspect } from './statistics.ts'

/** Whether the variants have the users that they should have, and if not, among whom the fault lies. */

export type RatioStatus = 'ok' | 'no_data' | 'unexpected_variant' | 'single_variant' | 'zero_variance'
/** The chi-square is for a planned end; the sequential p-value may be looked at at any time, and is what blocks until then. */
export type RatioCheck = {
  status: RatioStatus
  chi_square: number | null
  degrees_of_freedom: number
  p_value: number
  sequential_p_value: number | null
  is_mismatch: boolean
}
export type Cause = {
  by: string
  value: string
  of: 'assigned' | 'exposed'
  /** Of these users alone, times how many values were looked at. */
  p_value: number
  /** Whether everybody else agrees with the allocation. */
  explains_all: boolean
  variants: { variant_id: number; users: number; expected: number }[]
}
export type SampleRatios = {
  assigned: RatioCheck
  exposed: RatioCheck
  /** Whether users are left out at the same rate in every variant. */
  exclusions: Omit<RatioCheck, 'sequential_p_value'>
  causes: Cause[]
}

type Count = 'drawn' | 'drawn_exposed'
type Counts = readonly { variant_id: number; period: number; drawn: number; drawn_exposed: number }[]
type Period = { counts: number[]; allocation: number[] }

export function checkRatios(statistics: RunStatistics): SampleRatios {
  const assigned = checkRatio(statistics, 'drawn')
  const exposed = checkRatio(statistics, 'drawn_exposed')
  return {
    assigned,
    exposed,
    exclusions: checkExclusions(statistics),
    causes: [
      ...(assigned.is_mismatch ? findCauses(statistics, 'drawn') : []),
      ...(exposed.is_mismatch && !assigned.is_mismatch ? findCauses(statistics, 'drawn_exposed') : []),
    ],
  }
}

/** The periods in which anybody was drawn, or could have been. */
function periodsOf({ variants, periods }: RunStatistics, counts: Counts, of: Count): Period[] {
  return periods
    .map(({ period, shares }) => ({
      counts: variants.map(({ variant_id }) =>
        counts.reduce((sum, row) => sum + (row.variant_id === variant_id && row.period === period ? row[of] : 0), 0),
      ),
      allocation: variants.map(({ variant_id }) => shares[variant_id] ?? 0),
    }))
    .filter(({ allocation }) => allocation.some((share) => share > 0))
}

function checkRatio(statistics: RunStatistics, of: Count): RatioCheck {
  const periods = periodsOf(statistics, statistics.units, of)
  const test = sampleRatioOverPeriods(periods)
  const sequential = test.status === 'ok' ? sequentialPValue(periods) : null
  return {
    status: test.status,
    chi_square: test.chiSquare,
    degrees_of_freedom: test.degreesOfFreedom,
    p_value: test.pValue,
    sequential_p_value: sequential,
    is_mismatch:
      test.status === 'unexpected_variant' ||
      (statistics.has_ended ? test.isMismatch : sequential !== null && sequential < MISMATCH_THRESHOLD),
  }
}

/** Evidence of independent periods is multiplied: under a right allocation the product is a martingale too. */
function sequentialPValue(periods: readonly Period[]): number {
  const evidence = periods.map(({ counts, allocation }) => {
    const drawn = counts.filter((_, place) => (allocation[place] as number) > 0)
    const shares = allocation.filter((share) => share > 0)
    return drawn.length < 2 ? 0 : (sequentialSampleRatio([drawn], shares).logBayesFactors[0] as number)
  })
  return Math.min(1, Math.exp(-evidence.reduce((sum, log) => sum + log, 0)))
}

function checkExclusions({ variants, units }: RunStatistics): SampleRatios['exclusions'] {
  const test = exclusionRates(
    variants.map(({ variant_id }) => {
      const own = units.filter((row) => row.variant_id === variant_id)
      const total = (of: (row: (typeof own)[number]) => number) => own.reduce((sum, row) => sum + of(row), 0)
      const excluded = total(
        (row) =>
          row.crossovers + row.overridden + row.excluded_by_hand + row.excluded_by_attribute + row.excluded_by_rate,
      )
      return { assigned: excluded + total((row) => row.users), excluded }
    }),
  )
  return {
    status: test.status,
    chi_square: test.chiSquare,
    degrees_of_freedom: test.degreesOfFreedom,
    p_value: test.pValue,
    is_mismatch: test.isMismatch,
  }
}

/**
 * Values whose users alone are off by more than chance allows among so many values; where taking one away leaves everybody
 * else in order, only such values are told.
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
        p_value: pValue,
        explains_all: !sampleRatioOverPeriods(periodsOf(statistics, withoutThem(statistics, suspect), of)).isMismatch,
        variants: expectations(statistics, periods),
      },
    ]
  })
  const whole = found.filter(({ explains_all }) => explains_all)
  return (whole.length > 0 ? whole : found).sort((one, other) => one.p_value - other.p_value).slice(0, 10)
}

function withoutThem({ units }: RunStatistics, { counts }: Suspect): Counts {
  return units.map((row) => {
    const own = counts.filter(({ variant_id, period }) => variant_id === row.variant_id && period === row.period)
    const total = (of: Count) => own.reduce((sum, count) => sum + count[of], 0)
    return {
      variant_id: row.variant_id,
      period: row.period,
      drawn: Math.max(0, row.drawn - total('drawn')),
      drawn_exposed: Math.max(0, row.drawn_exposed - total('drawn_exposed')),
    }
  })
}

function expectations({ variants }: RunStatistics, periods: readonly Period[]): Cause['variants'] {
  return variants.map(({ variant_id }, place) => {
    const expected = periods.map(({ counts, allocation }) => {
      const users = counts.reduce((sum, count) => sum + count, 0)
      return (users * (allocation[place] as number)) / allocation.reduce((sum, share) => sum + share, 0)
    })
    return {
      variant_id,
      users: periods.reduce((sum, { counts }) => sum + (counts[place] as number), 0),
      expected: expected.reduce((sum, count) => sum + count, 0),
    }
  })
}
