import { RE2JS } from 're2js'
import { MAX_TEXT_LENGTH } from './coercion.ts'
import { type Path, RuleError, shown } from './rule-error.ts'

const MAX_PATTERN_LENGTH = 1000
/** The limit for one pattern. The worst pattern takes some milliseconds on the longest text: docs/conditions.md. */
const MAX_INSTRUCTIONS = 300
/**
 * The limit before compiling, because to compile a long pattern repeated a thousand times takes seconds and gigabytes.
 */
const MAX_ESTIMATED_INSTRUCTIONS = 10_000
/** A class such as \p{L} has hundreds of ranges. */
const INSTRUCTIONS_PER_UNICODE_CLASS = 10
/**
 * The memory for the states of one pattern's automaton. The library's default of 8 MB is slower for a pattern with so
 * many states that each one is rarely used again.
 */
const AUTOMATON_BYTES = 64 * 1024

type Pattern = {
  /** True if the text contains a match; null if the text is too long to search. */
  readonly isIn: (text: string) => boolean | null
  readonly instructions: number
}

/**
 * Compiles a regular expression in RE2's syntax. The syntax has no back-references and no look-around, so a search
 * takes time proportional to the text, whatever the pattern.
 * @throws RuleError if the pattern does not compile or exceeds a limit
 */
export function compilePattern(pattern: string, ignoreCase: boolean, path: Path): Pattern {
  if (pattern.length > MAX_PATTERN_LENGTH)
    throw new RuleError(path, `has ${pattern.length} characters: a pattern may have at most 1,000`)
  const tokens: readonly string[] = pattern.match(TOKENS) ?? []
  // \Q is the letter Q in JavaScript, but starts a quotation in RE2.
  if (tokens.includes('\\Q'))
    throw new RuleError(
      path,
      `${shown(pattern)} uses \\Q, which is not allowed: escape each character with a backslash`,
    )
  if (estimatedInstructions(tokens) > MAX_ESTIMATED_INSTRUCTIONS) throw tooLarge(path)
  const compiled = parse(pattern, ignoreCase, path)
  const unicodeClasses = pattern.match(/\\p/gi)?.length ?? 0
  const instructions = compiled.programSize() + unicodeClasses * INSTRUCTIONS_PER_UNICODE_CLASS
  if (instructions > MAX_INSTRUCTIONS) throw tooLarge(path)
  const { dfa } = compiled.re2()
  dfa.stateBudget = AUTOMATON_BYTES
  dfa.memBudget = AUTOMATON_BYTES
  return { instructions, isIn: (text) => (text.length > MAX_TEXT_LENGTH ? null : compiled.test(text)) }
}

const tooLarge = (path: Path) =>
  new RuleError(path, 'is too large a pattern: use fewer or smaller repeats, or several patterns')

function parse(pattern: string, ignoreCase: boolean, path: Path): RE2JS {
  try {
    return RE2JS.compile(RE2JS.translateRegExp(pattern), ignoreCase ? RE2JS.CASE_INSENSITIVE : 0)
  } catch (error) {
    const reason =
      error instanceof Error ? error.message.replace('error parsing regexp: ', '').slice(0, 200) : 'unknown'
    throw new RuleError(
      path,
      `${shown(pattern)} is not a regular expression that RE2 can run in linear time: ${reason}`,
    )
  }
}

/** Estimates from its repeats how many instructions a pattern compiles to. The estimate is never far too low. */
function estimatedInstructions(tokens: readonly string[]): number {
  const outer: number[] = []
  let size = 0
  let last = 0
  for (const token of tokens) {
    const repeat = /^\{(\d+)(?:,(\d*))?\}$/.exec(token)
    if (repeat) {
      const copies = Math.max(1, Number(repeat[1]) + (repeat[2] === '' ? 1 : 0), Number(repeat[2] || 0))
      size += last * (copies - 1) + copies
      last = last * copies + copies
    } else if (token === '(') {
      outer.push(size)
      size = 0
    } else if (token === ')') {
      last = size + 2
      size = last + (outer.pop() ?? 0)
    } else {
      // A repeat may follow another repeat, as in a*{3}: the second one then repeats the atom and the first one.
      last = '*+?'.includes(token) ? last + 1 : 1
      size += 1
    }
  }
  return outer.reduce((sum, part) => sum + part, size)
}

/** An escape, a class, a counted repeat, or any one character. */
const TOKENS = /\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{\d+(?:,\d*)?\}|./gs
