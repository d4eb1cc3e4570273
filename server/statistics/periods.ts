import { type Comparison, compareEffect, undefinedComparison, welchDegreesOfFreedom } from './comparison.ts'
import { mean, type Sums, variance } from './moments.ts'

/** The users of one allocation period: of all variants together, and what two of them add up to. */
export type Stratum = { users: number; control: Sums; treatment: Sums }

export type StratifiedComparison = Comparison & {
  periodsUsed: number
  /** Users of the two variants in periods with fewer than two users in one of them. */
  usersLeftOut: number
  /** Of the periods used, in their order: shares of their users. */
  weights: number[]
}

/**
 * Compares two means over allocation periods, post-stratified: after a change of allocation the shares of early users differ
 * between variants, and pooling compares different mixtures of users. One period gives Welch's test.
 * @param strata by period of assignment; with a covariate, the sums of adjusted values
 * @see Miratrix, Sekhon, Yu (2013), J. R. Stat. Soc. B 75, 369-396
 */
export function stratifiedTest(strata: readonly Stratum[], confidenceLevel: number): StratifiedComparison {
  const used = strata.filter(({ control, treatment }) => control.n >= 2 && treatment.n >= 2)
  const users = used.reduce((sum, stratum) => sum + stratum.users, 0)
  const compared = (of: readonly Stratum[]) =>
    of.reduce((sum, { control, treatment }) => sum + control.n + treatment.n, 0)
  const weights = used.map((stratum) => stratum.users / users)
  const told = { periodsUsed: used.length, usersLeftOut: compared(strata) - compared(used), weights }
  const levels = (['control', 'treatment'] as const).map((side) => {
    const parts = used.map((stratum, place) => {
      const weight = weights[place] as number
      const sums = stratum[side]
      return { n: sums.n, level: weight * (mean(sums) ?? 0), variance: (weight ** 2 * (variance(sums) ?? 0)) / sums.n }
    })
    return {
      parts,
      level: parts.reduce((sum, part) => sum + part.level, 0),
      variance: parts.reduce((sum, part) => sum + part.variance, 0),
    }
  })
  if (used.length === 0) {
    const isEmpty = (side: 'control' | 'treatment') => strata.every((stratum) => stratum[side].n === 0)
    return {
      ...undefinedComparison(isEmpty('control') || isEmpty('treatment') ? 'no_data' : 'insufficient_data'),
      ...told,
    }
  }
  const [control, treatment] = levels as [(typeof levels)[number], (typeof levels)[number]]
  return {
    ...compareEffect(
      {
        difference: treatment.level - control.level,
        varianceOfDifference: treatment.variance + control.variance,
        control: control.level,
        varianceOfControl: control.variance,
        covariance: -control.variance,
        degreesOfFreedom: welchDegreesOfFreedom([...control.parts, ...treatment.parts]),
      },
      confidenceLevel,
      treatment.level,
    ),
    ...told,
  }
}
