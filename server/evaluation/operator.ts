import type { Compilation, Location, Test } from './compilation.ts'
import { type Path, RuleError } from './rule-error.ts'

/** Compiles a condition about a member of a list. condition.ts passes this function in, to avoid a circular import. */
type CompileMember = (rules: object, path: Path, compilation: Compilation) => Test
export type Context = { readonly compilation: Compilation; readonly compileMember: CompileMember }
export type Compile = (operand: unknown, location: Location, context: Context) => Test

/** The operators beside attributes. */
export const GROUPS = ['$and', '$or', '$nor', '$not']

/** Makes the error for an attribute named `or`, with conditions below it. Null if the name is none of a group. */
export function groupWithoutDollar(name: string, path: Path): RuleError | null {
  const group = `$${name.toLowerCase()}`
  if (!GROUPS.includes(group)) return null
  return new RuleError(path, `${name} is the name of an attribute here (did you mean ${group}?)`)
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
/** True for an object whose keys are all operators. An empty object is a plain value. */
export const isOperators = (value: unknown): value is Record<string, unknown> =>
  isObject(value) && Object.keys(value).length > 0 && Object.keys(value).every((key) => key.startsWith('$'))

/** Makes an operator whose test depends only on its operand. */
export const simple =
  (compile: (operand: unknown, path: Path, context: Context) => Test): ((operator: string) => [string, Compile]) =>
  (operator) => [
    operator,
    (operand, location, context) =>
      context.compilation.add(location, operator, operand, compile(operand, location.path, context)),
  ]
