import { describe, expect, test } from 'vitest'
import { compare } from './compare.ts'
import { answer, isMethod, type MethodName, methodNames } from './methods.ts'
import { casesOf, vectors } from './vectors.ts'

/** The number of cases in each group, so that a lost case is noticed. */
const counts: Record<MethodName, number> = {
  special_functions: 225,
  moments: 19,
  two_proportion_z: 27,
  proportion_ci: 21,
  proportion_difference_ci: 23,
  proportion_uplift_ci: 23,
  fisher_exact: 18,
  simple_results: 32,
  welch_t: 28,
  relative_uplift_ci: 23,
  ratio_metric: 19,
  cuped_mean: 16,
  cuped_ratio: 15,
  winsorize: 14,
  quantile_clustered: 18,
  quantile_comparison: 15,
  sequential_cs: 23,
  msprt: 15,
  group_sequential: 10,
  bayes_beta_binomial: 24,
  bayes_normal: 16,
  probability_best: 16,
  bandit_allocation: 10,
  srm: 20,
  sequential_srm: 10,
  srm_periods: 10,
  multiple_comparisons: 16,
  power_means: 15,
  power_proportions: 15,
  power_sequential: 10,
  run_time: 11,
  non_inferiority: 16,
  periods: 20,
  exposure: 16,
  daily_cumulative: 8,
}

test('the reference file has 817 cases, and every group has a method', () => {
  expect(vectors.groups.flatMap(({ cases }) => cases)).toHaveLength(817)
  expect(vectors.groups.map(({ group }) => group).filter((group) => !isMethod(group))).toEqual([])
})

describe.each(methodNames)('%s', (group) => {
  const cases = casesOf(group)

  test(`has ${counts[group]} reference cases`, () => {
    expect(cases).toHaveLength(counts[group])
  })

  test.each(cases)('equals the reference figures for: $name', (reference) => {
    const verdict = compare(answer(group, reference.input), reference, vectors.comparison.relative_only)
    expect(verdict.mismatches).toEqual([])
  })
})
