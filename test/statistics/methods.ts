import { basics } from './methods/basics.ts'
import { bayesian } from './methods/bayesian.ts'
import { comparisons } from './methods/comparisons.ts'
import { monitoring } from './methods/monitoring.ts'
import { planning } from './methods/planning.ts'
import { users } from './methods/users.ts'

/**
 * For each group of the reference vectors, a function that calls the platform with a case's input and writes the answer
 * with the keys of the expected figures.
 */
const methods = { ...basics, ...comparisons, ...monitoring, ...bayesian, ...planning, ...users }

export type MethodName = keyof typeof methods

export const methodNames = Object.keys(methods) as MethodName[]

export const isMethod = (group: string): group is MethodName => Object.hasOwn(methods, group)

/** Computes the platform's answer to one case of a group. */
export function answer(group: MethodName, input: unknown): unknown {
  return (methods[group] as (input: unknown) => unknown)(input)
}
