import { isDeepStrictEqual } from 'node:util'
import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import { invalid } from '../errors.ts'
import { type Condition, compileCondition, RuleError, type Rules } from '../evaluation/condition.ts'
import { checkMeaning } from '../evaluation/meaning.ts'
import { id } from '../wire.ts'
import { lockRules } from './queries.ts'

type Path = readonly (string | number)[]

/** The longest chain of segments, each of which names the next. The limit bounds the depth of one evaluation. */
const LONGEST_CHAIN = 10

/**
 * Compiles a rule from a caller's input.
 * @param field the path of the input field that holds the rule
 * @throws DomainError BAD_REQUEST with the path of the fault, which begins with `field`
 */
export const compileGiven = (rules: Rules | null, ...field: Path): Condition =>
  atField(field, () => compileCondition(rules))

/**
 * Refuses rules that compile but cannot mean what they say. Rules that are stored already are accepted, so that a
 * caller can send them back with other changes.
 * @param stored the rules that these replace
 * @param field the path of the input field that holds the rule
 * @throws DomainError BAD_REQUEST with the path of the mistake
 */
export function expectMeaning(rules: Rules | null | undefined, stored: Rules | null, ...field: Path) {
  if (rules && !isDeepStrictEqual(rules, stored)) atField(field, () => checkMeaning(rules))
}

/** Puts the path of an input field before the path of a fault in a rule. */
function atField<Result>(field: Path, read: () => Result): Result {
  try {
    return read()
  } catch (error) {
    if (error instanceof RuleError) throw invalid(error.message, ...field, ...error.path)
    throw error
  }
}

/**
 * Checks every segment that a rule names.
 * @param field the path of the input field that holds the rule
 * @param faultOf gives the message if the rule cannot name the segment, otherwise null
 * @throws DomainError BAD_REQUEST with the path of the first bad name
 */
export function checkNames(condition: Condition, field: Path, faultOf: (segmentId: number) => string | null) {
  const named = new Set(condition.segmentIds)
  for (const { attribute, expected, path } of condition.clauses) {
    if (attribute !== null || !named.has(expected as number)) continue
    const fault = faultOf(expected as number)
    if (fault !== null) throw invalid(fault, ...field, ...path)
  }
}

/** Makes the message for a rule that names an unknown segment. */
export const unknownSegment = (segmentId: number) => `segment ${segmentId} does not exist`

/**
 * Compiles a rule that is about to be stored. The segments that the rule names exist, and cannot be deleted before the
 * transaction ends. Takes the lock of `lockRules`: call this before experiments are locked.
 * @param field the path of the input field that holds the rule
 * @param segmentId the segment whose rule this is, or 'new'; absent for other rules. The rules of segments must not
 * form a circle, nor a chain of more than LONGEST_CHAIN segments
 * @returns the ids of the segments that the rule names, which the caller stores beside the rule
 * @throws DomainError BAD_REQUEST with the path of the fault
 */
export async function compileRule(
  em: EntityManager,
  rules: Rules | null,
  field: Path,
  segmentId?: number | 'new',
): Promise<number[]> {
  const condition = compileGiven(rules, ...field)
  if (condition.segmentIds.length === 0) return []
  await lockRules(em)
  const stored = typeof segmentId === 'number' ? segmentId : null
  const above = (stored === null ? 0 : await countAbove(em, stored)) + (segmentId === undefined ? 0 : 1)
  const below = await measureBelow(em, condition.segmentIds, stored)
  checkNames(condition, field, (named) => {
    const found = below.get(named)
    if (!found) return unknownSegment(named)
    if (found.leads_back)
      return `segment ${named} leads back to segment ${stored}: segments cannot name one another in a circle`
    if (above + found.depth > LONGEST_CHAIN)
      return `segment ${named} makes a chain of more than ${LONGEST_CHAIN} segments that name one another`
    return null
  })
  return [...condition.segmentIds]
}

/** Counts the segments of the longest chain that ends with a segment that names this one. */
async function countAbove(em: EntityManager, segmentId: number): Promise<number> {
  const rows = await execute(
    em,
    sql<{ depth: number }>`
      with recursive above (id, depth) as (
        select ${segmentId}::int, 0
        union
        select s.id, above.depth + 1 from above join segments s on s.rules_segment_ids @> array[above.id]
        where above.depth <= ${LONGEST_CHAIN})
      select max(above.depth) as depth from above`,
  )
  return rows[0]?.depth ?? 0
}

type Below = { named: number; depth: number; leads_back: boolean }

/**
 * Measures, for each named segment that exists, the longest chain of segments that begins with it.
 * @param segmentId the segment whose rule is checked; `leads_back` tells whether a chain contains that segment
 */
async function measureBelow(em: EntityManager, named: readonly number[], segmentId: number | null) {
  const possible = named.filter((value) => id.safeParse(value).success)
  if (possible.length === 0) return new Map<number, Below>()
  const rows = await execute(
    em,
    sql<Below>`
      with recursive below (named, id, depth) as (
        select s.id, s.id, 1 from segments s where s.id in (${sql.join(possible)})
        union
        select below.named, unnest(s.rules_segment_ids), below.depth + 1 from below join segments s on s.id = below.id
        where below.depth <= ${LONGEST_CHAIN})
      select below.named, max(below.depth) as depth, bool_or(below.id = ${segmentId ?? 0}) as leads_back
      from below group by below.named`,
  )
  return new Map(rows.map((row) => [row.named, row]))
}
