import type { Attributes, Read } from './attributes.ts'
import { type Path, RuleError } from './rule-error.ts'

/** Whether the user is in a segment, by its id. */
export type InSegment = (segmentId: number) => boolean
/** What a part of a rule compiles to: a claim about a value. A whole rule is a claim about the attributes. */
export type Test = (value: unknown, inSegment: InSegment) => boolean

/** One test of one attribute inside a rule, for explanations. */
export type Clause = {
  /** Where it stands in the rule, such as `['$or', 0, 'country', '$in']`. */
  readonly path: Path
  /** Dotted path of the attribute it reads; null for membership of a segment, which reads none. */
  readonly attribute: string | null
  /** `$eq` for a plain value. */
  readonly operator: string
  readonly expected: unknown
  /** Null where missing. */
  readonly actual: (attributes: Attributes) => unknown
  /** The test alone: a `$not` or `$nor` around it is in its path only. */
  readonly holds: (attributes: Attributes, inSegment: InSegment) => boolean
}

/** The attribute of the user that a test is about. */
type Attribute = { readonly name: string; readonly read: Read }
/** Where a test stands, and what it is about: null for a member or the size of a list, which no clause reports on its own. */
export type Place = { readonly path: Path; readonly attribute: Attribute | null }

const MOST_TESTS = 1000
/** Of all patterns of a rule together: what bounds the time that one evaluation can take. */
const MOST_INSTRUCTIONS = 1000

/** What one compilation gathers, and the limits it keeps. */
export class Gathering {
  readonly reads = new Set<string>()
  readonly segmentIds = new Set<number>()
  readonly clauses: Clause[] = []
  #tests = 0
  #instructions = 0

  /** Counts a test, and reports it where it is about an attribute of the user. */
  add(place: Place, operator: string, expected: unknown, test: Test): Test {
    this.#count(place.path)
    if (place.attribute) {
      const { name, read } = place.attribute
      this.reads.add(name)
      const holds = (attributes: Attributes, inSegment: InSegment) => test(read(attributes), inSegment)
      this.clauses.push({ path: place.path, attribute: name, operator, expected, actual: read, holds })
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
    if (this.#instructions > MOST_INSTRUCTIONS)
      throw new RuleError(path, 'makes the patterns of this rule too large together')
  }

  #count(path: Path): void {
    this.#tests++
    if (this.#tests > MOST_TESTS) throw new RuleError(path, 'must not have more than 1,000 tests in one rule')
  }
}
