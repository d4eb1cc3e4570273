import { RE2JS } from 're2js'
import { LONGEST_TEXT } from './coercion.ts'
import { type Path, RuleError } from './rule-error.ts'

const LONGEST_PATTERN = 1000
/** Of one pattern: the worst one then takes some milliseconds on the longest text; see docs/conditions.md. */
const MOST_INSTRUCTIONS = 300
/** Before compiling: a thousandfold repeat of a long pattern would take seconds and gigabytes. */
const MOST_ESTIMATED = 10_000
/** A class such as \p{L} has hundreds of ranges. */
const INSTRUCTIONS_PER_UNICODE_CLASS = 10
/** What one pattern's automaton may remember. The library's 8 MB are slower where a pattern has too many states to pay. */
const AUTOMATON_BYTES = 64 * 1024

type Pattern = {
  /** Whether it is found in the text; null where the text is too long to be searched. */
  readonly isIn: (text: string) => boolean | null
  readonly instructions: number
}

/**
 * Compiles a regular expression in RE2's syntax, which knows no back-references and no look-around, so that searching
 * takes time proportional to the text, whatever the pattern.
 * @throws RuleError
 */
export function compilePattern(pattern: string, ignoreCase: boolean, path: Path): Pattern {
  if (pattern.length > LONGEST_PATTERN) throw new RuleError(path, 'must not exceed 1,000 characters')
  const tokens: readonly string[] = pattern.match(TOKENS) ?? []
  // JavaScript takes \Q for the letter, RE2 for the start of a quotation.
  if (tokens.includes('\\Q')) throw new RuleError(path, 'must not use \\Q')
  if (estimatedInstructions(tokens) > MOST_ESTIMATED) throw tooLarge(path)
  const compiled = parse(pattern, ignoreCase, path)
  const unicodeClasses = pattern.match(/\\p/gi)?.length ?? 0
  const instructions = compiled.programSize() + unicodeClasses * INSTRUCTIONS_PER_UNICODE_CLASS
  if (instructions > MOST_INSTRUCTIONS) throw tooLarge(path)
  const { dfa } = compiled.re2()
  dfa.stateBudget = AUTOMATON_BYTES
  dfa.memBudget = AUTOMATON_BYTES
  return { instructions, isIn: (text) => (text.length > LONGEST_TEXT ? null : compiled.test(text)) }
}

const tooLarge = (path: Path) =>
  new RuleError(path, 'is too large a pattern: use fewer or smaller repeats, or split it')

function parse(pattern: string, ignoreCase: boolean, path: Path): RE2JS {
  try {
    return RE2JS.compile(RE2JS.translateRegExp(pattern), ignoreCase ? RE2JS.CASE_INSENSITIVE : 0)
  } catch (error) {
    const reason =
      error instanceof Error ? error.message.replace('error parsing regexp: ', '').slice(0, 200) : 'unknown'
    throw new RuleError(path, `is not a regular expression that can be searched for in linear time: ${reason}`)
  }
}

/** About how many instructions a pattern compiles to, from its repeats alone; never far too few. */
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
      // A repeat may follow another, as in a*{3}, and then takes the atom along.
      last = '*+?'.includes(token) ? last + 1 : 1
      size += 1
    }
  }
  return outer.reduce((sum, part) => sum + part, size)
}

/** An escape, a class, a counted repeat, or any one character. */
const TOKENS = /\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{\d+(?:,\d*)?\}|./gs
