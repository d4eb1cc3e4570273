import type { Rules } from './condition.ts'
import { GROUPS, groupWithoutDollar, isObject, isOperators } from './operator.ts'
import { refuseWithoutDollar } from './operators.ts'
import { type Path, RuleError } from './rule-error.ts'
import { checkLimits } from './rule-limits.ts'

/**
 * Refuses rules that compile but cannot mean what they say. Stored rules are not checked, so that they go on to select
 * the same users.
 */

/** The attributes of every profile. None of them is ever a list. */
const SINGLE_VALUES = new Set(['id', 'first_name', 'last_name', 'email', 'is_premium', 'country_code'])

/**
 * Checks that a rule has no operator without its `$`, no list for an attribute that is never a list, no number as an
 * id, no distance in time without `$now`, and no `$now` without a sign.
 * @throws RuleError with the path of the first mistake
 */
export function checkMeaning(rules: Rules): void {
  checkLimits(rules)
  checkGroup(rules, [], false)
}

/** @param ofMember true if the rules are about a member of a list rather than about the user */
function checkGroup(rules: unknown, path: Path, ofMember: boolean): void {
  if (!isObject(rules)) return
  for (const [key, operand] of Object.entries(rules)) {
    const at = [...path, key]
    if (key === '$not') checkGroup(operand, at, ofMember)
    else if (GROUPS.includes(key)) eachOf(operand, at, (part, partPath) => checkGroup(part, partPath, ofMember))
    else checkAttribute(key, operand, at, ofMember)
  }
}

function eachOf(list: unknown, path: Path, check: (item: unknown, path: Path) => void) {
  if (Array.isArray(list)) for (const [index, item] of list.entries()) check(item, [...path, index])
}

function checkAttribute(name: string, expected: unknown, path: Path, ofMember: boolean): void {
  const holdsConditions = isObject(expected) || (Array.isArray(expected) && expected.some(isObject))
  const group = holdsConditions && !isOperators(expected) ? groupWithoutDollar(name, path) : null
  if (group) throw group
  if (Array.isArray(expected) && SINGLE_VALUES.has(name) && !ofMember)
    throw new RuleError(path, `${name} never equals a list (did you mean $in?): write { "${name}": { "$in": [ … ] } }`)
  if (name === 'id' && !ofMember) checkIds(expected, path)
  checkValue(expected, path)
}

const COMPARES_IDS = ['$eq', '$ne', '$in', '$nin', '$ini', '$nini']
/** Refuses numbers as ids: the attribute `id` is always a text, and no call can change it. */
function checkIds(expected: unknown, path: Path): void {
  if (!isOperators(expected)) return
  for (const [operator, operand] of Object.entries(expected)) {
    const at = [...path, operator]
    if (operator === '$not') checkIds(operand, at)
    if (!COMPARES_IDS.includes(operator)) continue
    if (Array.isArray(operand)) eachOf(operand, at, expectId)
    else expectId(operand, at)
  }
}

function expectId(id: unknown, path: Path) {
  if (typeof id !== 'number' && typeof id !== 'boolean') return
  throw new RuleError(path, `${id} never equals an id, because ids are texts: write "${id}"`)
}

function checkValue(expected: unknown, path: Path): void {
  if (isOperators(expected))
    for (const [operator, operand] of Object.entries(expected)) checkOperand(operator, operand, [...path, operator])
  else if (isObject(expected)) refuseWithoutDollar(expected, path)
}

function checkOperand(operator: string, operand: unknown, path: Path): void {
  if (operator === '$elemMatch' && !isOperators(operand)) checkGroup(operand, path, true)
  else if (operator === '$all' || operator === '$alli') eachOf(operand, path, checkValue)
  else if (isObject(operand) && '$now' in operand) checkSign(operand.$now, [...path, '$now'])
  else if (ORDERS.includes(operator)) expectNoDistance(operator, operand, path)
  else checkValue(operand, path)
}

const ORDERS = ['$gt', '$gte', '$lt', '$lte']
/** Refuses a distance in time without `$now`, which would be compared as a text. */
function expectNoDistance(operator: string, operand: unknown, path: Path) {
  if (typeof operand === 'string' && /^[-+]\d+[smhdw]$/.test(operand))
    throw new RuleError(path, `"${operand}" is compared as a text: write { "${operator}": { "$now": "${operand}" } }`)
}

/** Refuses a distance such as `20d`, which counts from the decision into the future and is rarely meant so. */
function checkSign(distance: unknown, path: Path) {
  if (typeof distance === 'string' && /^[1-9]\d*[smhdw]$/.test(distance))
    throw new RuleError(
      path,
      `${distance} has no sign: write -${distance} for a time before the decision, +${distance} for a time after it`,
    )
}
