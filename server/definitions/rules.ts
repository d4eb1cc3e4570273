import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import { invalid } from '../errors.ts'
import { type Condition, compileCondition, RuleError, type Rules } from '../evaluation/condition.ts'
import { id } from '../wire.ts'
import { lockRules } from './queries.ts'

type Path = readonly (string | number)[]

/** Segments in a row, each named by the one before: what bounds the depth of one evaluation. */
const MOST_IN_A_ROW = 10

/**
 * Compiles a rule that a caller gave.
 * @param field the path of the field that it was given in
 * @throws DomainError BAD_REQUEST with the path of the fault, which begins with the field
 */
export function compileGiven(rules: Rules | null, ...field: Path): Condition {
  try {
    return compileCondition(rules)
  } catch (error) {
    if (error instanceof RuleError) throw invalid(error.message, ...field, ...error.path)
    throw error
  }
}

/**
 * Checks a rule's names of segments, each where it stands.
 * @param faultOf says what is wrong with naming a segment, if anything is
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

export const unknownSegment = (segmentId: number) => `names segment ${segmentId}, which does not exist`

/**
 * Compiles a rule that is to be stored, and makes sure that the segments it names exist, and go on existing until the
 * transaction ends. Takes the lock of `lockRules`: to be called before experiments are locked.
 * @param field the path of the field that the rule was given in
 * @param segmentId whose rule it is, if it is a segment's: none leads back to itself, nor to too many others
 * @returns the segments that it names, to be stored beside it
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
  const below = await lookBelow(em, condition.segmentIds, stored)
  checkNames(condition, field, (named) => {
    const found = below.get(named)
    if (!found) return unknownSegment(named)
    if (found.leads_back)
      return `names segment ${named}, which leads back to segment ${stored}: segments cannot name one another in a circle`
    if (above + found.depth > MOST_IN_A_ROW)
      return `makes more than ${MOST_IN_A_ROW} segments name one another in a row`
    return null
  })
  return [...condition.segmentIds]
}

/** How many segments there are in the longest row that ends with one naming this segment. */
async function countAbove(em: EntityManager, segmentId: number): Promise<number> {
  const rows = await execute(
    em,
    sql<{ depth: number }>`
      with recursive above (id, depth) as (
        select ${segmentId}::int, 0
        union
        select s.id, above.depth + 1 from above join segments s on s.rules_segment_ids @> array[above.id]
        where above.depth <= ${MOST_IN_A_ROW})
      select max(above.depth) as depth from above`,
  )
  return rows[0]?.depth ?? 0
}

type Below = { named: number; depth: number; leads_back: boolean }

/** Finds, for each named segment that exists, the longest row of segments below it, and whether one leads back. */
async function lookBelow(em: EntityManager, named: readonly number[], segmentId: number | null) {
  const possible = named.filter((value) => id.safeParse(value).success)
  if (possible.length === 0) return new Map<number, Below>()
  const rows = await execute(
    em,
    sql<Below>`
      with recursive below (named, id, depth) as (
        select s.id, s.id, 1 from segments s where s.id in (${sql.join(possible)})
        union
        select below.named, unnest(s.rules_segment_ids), below.depth + 1 from below join segments s on s.id = below.id
        where below.depth <= ${MOST_IN_A_ROW})
      select below.named, max(below.depth) as depth, bool_or(below.id = ${segmentId ?? 0}) as leads_back
      from below group by below.named`,
  )
  return new Map(rows.map((row) => [row.named, row]))
}
