import { isDeepStrictEqual } from 'node:util'
import { invalid } from '../errors.ts'
import type { FlagRule } from './schema.ts'

/** A rule that is about to be stored; its id is undefined if the caller gave none. */
export type PreparedRule = Omit<FlagRule, 'id'> & { id: string | undefined }

/**
 * How closely a stored rule resembles a rule without an id, the closest first. A rollout draws by the id of its rule, so
 * a rule that was moved or edited must keep its id.
 */
const RESEMBLANCES: readonly ((rule: PreparedRule, stored: FlagRule) => boolean)[] = [
  (rule, stored) => isDeepStrictEqual({ ...rule, id: stored.id }, stored),
  (rule, stored) =>
    isDeepStrictEqual([rule.condition, rule.segment_ids], [stored.condition, stored.segment_ids]) &&
    servesAlike(rule, stored),
  servesAlike,
]

function servesAlike(rule: PreparedRule, stored: FlagRule): boolean {
  if (rule.experiment || stored.experiment) return rule.experiment?.experiment_id === stored.experiment?.experiment_id
  return (rule.rollout === undefined) === (stored.rollout === undefined)
}

/**
 * Gives every rule an id. A rule without an id keeps the id of the stored rule that it resembles most; otherwise it gets
 * its number in the list, or the next number that is free.
 * @param stored the rules of the flag until now
 * @throws DomainError BAD_REQUEST if two rules have the same id
 */
export function withIds(rules: readonly PreparedRule[], stored: readonly FlagRule[]): FlagRule[] {
  const ids = rules.map(({ id }) => id)
  for (const [index, id] of ids.entries())
    if (id !== undefined && ids.indexOf(id) < index)
      throw invalid(`${id} is the id of another rule of this flag`, 'rules', index, 'id')
  const left = stored.filter(({ id }) => !ids.includes(id)).map(withoutEdition)
  for (const resembles of RESEMBLANCES)
    for (const [index, rule] of rules.entries()) {
      if (ids[index] !== undefined) continue
      const place = left.findIndex((candidate) => resembles(rule, candidate))
      if (place >= 0) ids[index] = left.splice(place, 1)[0]?.id
    }
  const taken = new Set([...ids, ...stored.map(({ id }) => id)])
  return rules.map((rule, index) => {
    const id = ids[index] ?? freeNumber(index + 1, rules.length, taken)
    taken.add(id)
    return { ...rule, id }
  })
}

/** The caller does not send the edition of a condition. */
const withoutEdition = ({ edition: _, ...rule }: FlagRule & { edition?: unknown }): FlagRule => rule

/** @param place the number of the rule in the list, which is tried first. @param length the number of all rules */
function freeNumber(place: number, length: number, taken: ReadonlySet<string | undefined>): string {
  let free = String(place)
  for (let number = length + 1; taken.has(free); number++) free = String(number)
  return free
}
