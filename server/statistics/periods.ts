import { type Comparison, compareEffect, independentEffect, type Level, undefinedComparison } from './comparison.ts'
import { mean, type Sums, variance } from './moments.ts'

/** The users of one allocation period: of all variants together, and what two of them add up to. */
type Stratum = { users: number; control: Sums; treatment: Sums }

/** What a stratified comparison rests on. */
type PeriodsUsed = {
  periodsUsed: number
  /** Users of the two variants in periods with fewer than two users in one of them. */
  usersLeftOut: number
  /** Of the periods used, in their order: shares of their users. */
  weights: number[]
}
export type StratifiedComparison = Comparison & PeriodsUsed

/**
 * The periods that can be compared, those with two users in both variants, each with its share of their users.
 * @returns with the status of a comparison where there is none
 */
export function comparablePeriods<Period extends { users: number; control: { n: number }; treatment: { n: number } }>(
  strata: readonly Period[],
): { used: (Period & { weight: number })[]; told: PeriodsUsed; status: 'ok' | 'no_data' | 'insufficient_data' } {
  const comparable = strata.filter(({ control, treatment }) => control.n >= 2 && treatment.n >= 2)
  const users = comparable.reduce((sum, stratum) => sum + stratum.users, 0)
  const compared = (of: readonly Period[]) =>
    of.reduce((sum, { control, treatment }) => sum + control.n + treatment.n, 0)
  const used = comparable.map((stratum) => ({ ...stratum, weight: stratum.users / users }))
  const isEmpty = strata.every(({ control }) => control.n === 0) || strata.every(({ treatment }) => treatment.n === 0)
  return {
    used,
    told: {
      periodsUsed: used.length,
      usersLeftOut: compared(strata) - compared(comparable),
      weights: used.map(({ weight }) => weight),
    },
    status: used.length > 0 ? 'ok' : isEmpty ? 'no_data' : 'insufficient_data',
  }
}

/**
 * Compares two means over allocation periods, post-stratified: after a change of allocation the shares of early users differ
 * between variants, and pooling compares different mixtures of users. One period gives Welch's test.
 * @param strata by period of assignment; with a covariate, the sums of adjusted values
 * @see Miratrix, Sekhon, Yu (2013), J. R. Stat. Soc. B 75, 369-396
 */
export function stratifiedTest(strata: readonly Stratum[], confidenceLevel: number): StratifiedComparison {
  const { used, told, status } = comparablePeriods(strata)
  if (status !== 'ok') return { ...undefinedComparison(status), ...told }
  const [control, treatment] = [stratify(used, 'control'), stratify(used, 'treatment')]
  return { ...compareStratified(control, treatment, confidenceLevel), ...told }
}

/** A variant's level over the periods, and what each of them adds to its variance. */
export type StratifiedLevel = Omit<Level, 'n'> & { parts: readonly Omit<Level, 'level'>[] }

/** Compares two independent levels over the periods, in the unit of the metric. */
export const compareStratified = (control: StratifiedLevel, treatment: StratifiedLevel, confidenceLevel: number) =>
  compareEffect(
    independentEffect(control, treatment, [...control.parts, ...treatment.parts]),
    confidenceLevel,
    treatment.level,
  )

function stratify(periods: readonly (Stratum & { weight: number })[], side: 'control' | 'treatment'): StratifiedLevel {
  const parts = periods.map(({ weight, [side]: sums }) => ({
    n: sums.n,
    level: weight * (mean(sums) ?? 0),
    variance: (weight ** 2 * (variance(sums) ?? 0)) / sums.n,
  }))
  return {
    parts,
    level: parts.reduce((sum, part) => sum + part.level, 0),
    variance: parts.reduce((sum, part) => sum + part.variance, 0),
  }
}
