import type { Attributes, Read } from './attributes.ts'
import { type Path, RuleError } from './rule-error.ts'

/** True if the user is in the segment with this id. */
export type InSegment = (segmentId: number) => boolean
/**
 * A compiled part of a rule: a predicate on one value. The value of a whole rule is the object of all attributes.
 * @param at the time of the decision, in milliseconds since 1970
 */
export type Test = (value: unknown, inSegment: InSegment, at: number) => boolean

/** One test of one attribute inside a rule, for explanations. */
export type Clause = {
  /** The path of the test in the rule, such as `['$or', 0, 'country', '$in']`. */
  readonly path: Path
  /** Dotted path of the attribute that the test reads; null for membership of a segment, which reads none. */
  readonly attribute: string | null
  /** `$eq` for a plain value. */
  readonly operator: string
  readonly expected: unknown
  /** Reads the value that the test compares; null if the attribute is missing. */
  readonly actual: (attributes: Attributes) => unknown
  /** Runs the test alone: a `$not` or `$nor` around the test shows in its path only. */
  readonly holds: (attributes: Attributes, inSegment: InSegment, at: number) => boolean
}

/** The attribute of the user that a test reads. */
type Attribute = { readonly name: string; readonly read: Read }
/**
 * The path of a test in the rule, and the attribute that the test reads. The attribute is null for a test of a list's
 * member or size: no clause reports such a test on its own.
 */
export type Location = { readonly path: Path; readonly attribute: Attribute | null }

/**
 * The edition of the language in which a rule was written. Rules keep their edition until they are changed, so that an
 * upgrade changes no decision. Edition 1 compares null, versions, times and names with dots as GrowthBook does.
 */
export type Edition = 1 | 2
export const EDITION: Edition = 2

const MAX_TESTS = 1000
/** The limit for all patterns of a rule together. It bounds the time of one evaluation. */
const MAX_INSTRUCTIONS = 1000

/** The state of one compilation: what the rule reads, its clauses, and the counts that its limits apply to. */
export class Compilation {
  readonly edition: Edition
  readonly reads = new Set<string>()
  readonly segmentIds = new Set<number>()
  readonly clauses: Clause[] = []
  #tests = 0
  #instructions = 0

  constructor(edition: Edition) {
    this.edition = edition
  }

  /** Counts a test, and adds a clause for the test if it reads an attribute of the user. */
  add(location: Location, operator: string, expected: unknown, test: Test): Test {
    this.#count(location.path)
    if (location.attribute) {
      const { name, read } = location.attribute
      this.reads.add(name)
      const holds = (attributes: Attributes, inSegment: InSegment, at: number) => test(read(attributes), inSegment, at)
      this.clauses.push({ path: location.path, attribute: name, operator, expected, actual: read, holds })
    }
    return test
  }

  addSegment(path: Path, operator: string, segmentId: number, test: Test): Test {
    this.#count(path)
    this.segmentIds.add(segmentId)
    this.clauses.push({ path, attribute: null, operator, expected: segmentId, actual: () => null, holds: test })
    return test
  }

  addPattern(path: Path, instructions: number): void {
    this.#instructions += instructions
    if (this.#instructions > MAX_INSTRUCTIONS)
      throw new RuleError(path, 'makes the patterns of this rule too large together: use fewer or shorter patterns')
  }

  #count(path: Path): void {
    this.#tests++
    if (this.#tests > MAX_TESTS)
      throw new RuleError(path, 'is test 1,001 of this rule, which may have at most 1,000: use $in for lists of values')
  }
}
