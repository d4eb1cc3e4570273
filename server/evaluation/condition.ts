import { type Attributes, reader } from './attributes.ts'
import { type Clause, Gathering, type InSegment, type Test } from './gathering.ts'
import { all, compileValue, isObject, not } from './operators.ts'
import { type Path, RuleError } from './rule-error.ts'
import { checkLimits } from './rule-limits.ts'

export { type Attributes, pickAttributes } from './attributes.ts'
export type { Clause, InSegment } from './gathering.ts'
export { RuleError } from './rule-error.ts'

/** A rule as it is written: all its keys must hold. docs/conditions.md describes the language. */
export type Rules = Record<string, unknown>

/** A rule compiled once, when the snapshot loads, and what it reads. */
export type Condition = {
  readonly holds: (attributes: Attributes, inSegment: InSegment) => boolean
  /** Dotted paths of the attributes it reads, distinct. */
  readonly reads: readonly string[]
  /** The segments that `$inGroup` and `$notInGroup` name, distinct. */
  readonly segmentIds: readonly number[]
  /** Every test of an attribute or a segment, in the order written. */
  readonly clauses: readonly Clause[]
}

const NOBODY: Condition = { holds: () => false, reads: [], segmentIds: [], clauses: [] }

/**
 * Compiles a rule: `null` means nobody, `{}` everybody.
 * @throws RuleError where it can only be a mistake, or exceeds a limit
 */
export function compileCondition(rules: Rules | null): Condition {
  if (rules === null) return NOBODY
  checkLimits(rules)
  const gathering = new Gathering()
  const holds = compileGroup(rules, [], gathering, false)
  const { reads, segmentIds, clauses } = gathering
  return { holds, reads: [...reads], segmentIds: [...segmentIds], clauses }
}

/** @param ofMember whether it is about a member of a list rather than about the user */
function compileGroup(rules: unknown, path: Path, gathering: Gathering, ofMember: boolean): Test {
  if (!isObject(rules)) throw new RuleError(path, 'must be an object of attributes and conditions')
  const inner = (part: unknown, at: Path) => compileGroup(part, at, gathering, ofMember)
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
        return compileAttribute(key, operand, at, gathering, ofMember)
    }
  })
  return all(tests)
}

function compileList(operand: unknown, path: Path, inner: (part: unknown, at: Path) => Test): Test[] {
  if (!Array.isArray(operand)) throw new RuleError(path, 'takes a list of conditions')
  return operand.map((part, index) => inner(part, [...path, index]))
}

/** At least one of them; everything, where there are none. */
function any(tests: readonly Test[]): Test {
  if (tests.length === 0) return () => true
  return (value, inSegment) => {
    for (const test of tests) if (test(value, inSegment)) return true
    return false
  }
}

function compileAttribute(name: string, expected: unknown, path: Path, gathering: Gathering, ofMember: boolean): Test {
  if (name.startsWith('$')) throw new RuleError(path, `${name} must stand inside an attribute, if it is an operator`)
  if (name.split('.').some((part) => part === '' || part === '__proto__'))
    throw new RuleError(path, 'is not the name of an attribute')
  const read = reader(name)
  const place = { path, attribute: ofMember ? null : { name, read } }
  const compileMember = (rules: object, at: Path) => compileGroup(rules, at, gathering, true)
  const test = compileValue(expected, place, { gathering, compileMember })
  return (attributes, inSegment) => test(read(attributes), inSegment)
}
