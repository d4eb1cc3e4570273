import { type Attributes, reader } from './attributes.ts'
import { type Clause, Compilation, EDITION, type Edition, type InSegment, type Test } from './compilation.ts'
import { GROUPS, isObject } from './operator.ts'
import { all, compileValue, not, operatorLike } from './operators.ts'
import { type Path, RuleError, refusal, shown } from './rule-error.ts'
import { checkLimits } from './rule-limits.ts'
import { unknownName } from './unknown-name.ts'

export { type Attributes, mergeAttributes, pickAttributes } from './attributes.ts'
export { type Clause, EDITION, type Edition, type InSegment } from './compilation.ts'
export { RuleError } from './rule-error.ts'

/** A rule as a caller writes it: all its keys must hold. docs/conditions.md describes the language. */
export type Rules = Record<string, unknown>

/** A compiled rule and the list of what it reads. Rules are compiled once, when the snapshot loads. */
export type Condition = {
  /** @param at the time of the decision, in milliseconds since 1970 */
  readonly holds: (attributes: Attributes, inSegment: InSegment, at: number) => boolean
  /** Dotted paths of the attributes that the rule reads, distinct. */
  readonly reads: readonly string[]
  /** The segments that `$inGroup` and `$notInGroup` name, distinct. */
  readonly segmentIds: readonly number[]
  /** Every test of an attribute or a segment, in the order written. */
  readonly clauses: readonly Clause[]
}

const NOBODY: Condition = { holds: () => false, reads: [], segmentIds: [], clauses: [] }

/**
 * Compiles a rule: `null` selects nobody, `{}` everybody.
 * @param edition the edition of the language in which the rule was written
 * @throws RuleError if the rule can only be a mistake or exceeds a limit
 */
export function compileCondition(rules: Rules | null, edition: Edition = EDITION): Condition {
  if (rules === null) return NOBODY
  checkLimits(rules)
  const compilation = new Compilation(edition)
  const holds = compileGroup(rules, [], compilation, false)
  const { reads, segmentIds, clauses } = compilation
  return { holds, reads: [...reads], segmentIds: [...segmentIds], clauses }
}

/** @param ofMember true if the rules are about a member of a list rather than about the user */
function compileGroup(rules: unknown, path: Path, compilation: Compilation, ofMember: boolean): Test {
  if (!isObject(rules)) throw refusal(path, rules, 'an object of attributes and conditions')
  const inner = (part: unknown, at: Path) => compileGroup(part, at, compilation, ofMember)
  const tests = Object.entries(rules).map(([key, operand]) => {
    const at = [...path, key]
    switch (key) {
      case '$and':
        return all(compileList(operand, at, inner))
      case '$or':
        return any(compileList(operand, at, inner))
      case '$nor':
        return not(any(compileList(operand, at, inner)))
      case '$not':
        return not(inner(operand, at))
      default:
        return compileAttribute(key, operand, at, compilation, ofMember)
    }
  })
  return all(tests)
}

function compileList(operand: unknown, path: Path, inner: (part: unknown, at: Path) => Test): Test[] {
  if (!Array.isArray(operand)) throw refusal(path, operand, 'a list of conditions')
  return operand.map((part, index) => inner(part, [...path, index]))
}

/** Holds if at least one test holds, or if there are no tests. */
function any(tests: readonly Test[]): Test {
  if (tests.length === 0) return () => true
  return (value, inSegment, at) => {
    for (const test of tests) if (test(value, inSegment, at)) return true
    return false
  }
}

function compileAttribute(
  name: string,
  expected: unknown,
  path: Path,
  compilation: Compilation,
  ofMember: boolean,
): Test {
  if (name.startsWith('$'))
    throw new RuleError(
      path,
      operatorLike(name)
        ? `${name} is none of $and, $or, $nor and $not: other operators are written inside an attribute`
        : unknownName('operator', name, GROUPS),
    )
  if (name.split('.').some((part) => part === '' || part === '__proto__'))
    throw new RuleError(
      path,
      `${shown(name)} is not the name of an attribute: names are joined by single dots, and __proto__ is not allowed`,
    )
  const read = reader(name, compilation.edition > 1)
  const location = { path, attribute: ofMember ? null : { name, read } }
  const compileMember = (rules: object, at: Path) => compileGroup(rules, at, compilation, true)
  const test = compileValue(expected, location, { compilation, compileMember })
  return (attributes, inSegment, at) => test(read(attributes), inSegment, at)
}
