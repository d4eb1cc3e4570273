import { describe, expect, test } from 'vitest'
import { compare } from './compare.ts'
import { answer, type MethodName, methodNames } from './methods.ts'
import { casesOf, vectors } from './vectors.ts'

/** How many cases each group has, so that none is dropped unnoticed. */
const counts: Record<MethodName, number> = {
  special_functions: 225,
  moments: 19,
  two_proportion_z: 27,
  proportion_ci: 21,
  fisher_exact: 18,
  simple_results: 32,
}

test('the reference file has 817 cases', () => {
  expect(vectors.groups.flatMap(({ cases }) => cases)).toHaveLength(817)
})

describe.each(methodNames)('%s', (group) => {
  const cases = casesOf(group)

  test(`has ${counts[group]} reference cases`, () => {
    expect(cases).toHaveLength(counts[group])
  })

  test.each(cases)('gives the reference figures for: $name', (reference) => {
    const verdict = compare(answer(group, reference.input), reference, vectors.comparison.relative_only)
    expect(verdict.mismatches).toEqual([])
  })
})
