import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Attributes, Rules } from '../../server/evaluation/condition.ts'
import { MEMBERS } from './random-conditions.ts'

/**
 * GrowthBook's evaluator with the differences that docs/conditions.md lists. Each difference is a second implementation
 * of ours, so that the comparison also finds faults in them.
 */

/** Differences in what an operator or a path means. */
export const DIFFERENCES = ['missing', 'versions', 'instants', 'relative', 'names'] as const
export type Difference = (typeof DIFFERENCES)[number]
/** The time of all decisions in these tests, in milliseconds since 1970. */
export const NOW = Date.parse('2026-01-01T12:00:00Z')

type Hooks = {
  operator: (operator: string, actual: unknown, expected: unknown) => boolean | undefined
  path: (holder: unknown, path: string) => { value: unknown } | undefined
}
type Evaluate = (attributes: Attributes, rules: Rules, groups: object) => boolean

const evaluate = await patched()
let left: Difference | 'all' | undefined
const hooks: Hooks = {
  operator: (operator, actual, expected) => {
    const isVersion = operator.startsWith('$v')
    const isOrder = /^\$[gl]te?$/.test(operator)
    if ((actual ?? null) === null && (isVersion || isOrder || /^\$regexi?$/.test(operator)))
      return isLeft('missing') ? undefined : false
    if (isOrder && isRelative(expected) && !isLeft('relative'))
      return isTime(actual) && holds(operator.slice(1), Date.parse(actual) - NOW - millisecondsOf(expected.$now))
    if (isVersion && !isLeft('versions')) return holds(operator.slice(2), compareVersions(actual, expected))
    if (isOrder && isTime(actual) && isTime(expected) && !isLeft('instants'))
      return holds(operator.slice(1), Date.parse(actual) - Date.parse(expected))
    return undefined
  },
  path: (holder, path) =>
    typeof holder === 'object' && holder !== null && Object.hasOwn(holder, path) && !isLeft('names')
      ? { value: (holder as Attributes)[path] }
      : undefined,
}
const isLeft = (difference: Difference) => left === difference || left === 'all'

/**
 * Gives GrowthBook's answer.
 * @param options.without the difference that is left out: `all` gives the answer of the SDK as it is
 */
export function answerOfGrowthBook(
  rules: Rules,
  attributes: Attributes,
  options: { without?: Difference | 'all' } = {},
): boolean {
  left = options.without
  return evaluate(attributes, rules, MEMBERS)
}

/** Loads a copy of the SDK's evaluator that asks `hooks` first. Fails if a new version of the SDK looks different. */
async function patched(): Promise<Evaluate> {
  const file = new URL(
    './esm/mongrule.mjs',
    import.meta.resolve('@growthbook/growthbook').replace(/dist\/.*$/, 'dist/'),
  )
  const replacements: [string, string][] = [
    ['"./util.mjs"', JSON.stringify(new URL('./util.mjs', file).href)],
    [
      'function evalOperatorCondition(operator, actual, expected, savedGroups, visited = new Set()) {',
      'const told = hooks.operator(operator, actual, expected); if (told !== undefined) return told;',
    ],
    ['function getPath(obj, path) {', 'const whole = hooks.path(obj, path); if (whole) return whole.value;'],
  ]
  let source = readFileSync(fileURLToPath(file), 'utf8')
  for (const [place, text] of replacements) {
    if (source.split(place).length !== 2) throw new Error(`The SDK's evaluator has no single place ${place}`)
    source = source.replace(place, () => (place.startsWith('"') ? text : `${place}\n${text}`))
  }
  const folder = mkdtempSync(join(tmpdir(), 'growthbook-'))
  const copy = join(folder, 'mongrule.mjs')
  writeFileSync(copy, `let hooks; export const use = (given) => { hooks = given };\n${source}`)
  const loaded = await import(pathToFileURL(copy).href)
  rmSync(folder, { recursive: true })
  loaded.use({
    operator: (...given: Parameters<Hooks['operator']>) => hooks.operator(...given),
    path: (...given: Parameters<Hooks['path']>) => hooks.path(...given),
  } satisfies Hooks)
  return loaded.evalCondition
}

const isTime = (value: unknown): value is string =>
  typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(value)

const isRelative = (operand: unknown): operand is { $now: string } =>
  typeof operand === 'object' && operand !== null && '$now' in operand

/** Reads a distance such as `-20d`. */
function millisecondsOf(distance: string): number {
  const seconds = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 }[distance.slice(-1)] as number
  return Number.parseInt(distance, 10) * seconds * 1000
}

function holds(name: string, order: number): boolean {
  switch (name) {
    case 'eq':
      return order === 0
    case 'ne':
      return order !== 0
    case 'lt':
      return order < 0
    case 'lte':
      return order <= 0
    case 'gt':
      return order > 0
    default:
      return order >= 0
  }
}

/** Compares two versions part by part. @returns a negative number if the first is earlier, 0 if both are equal */
function compareVersions(one: unknown, other: unknown): number {
  const [a, b] = [partsOf(one), partsOf(other)]
  for (let index = 0; index < Math.max(a.numbers.length, b.numbers.length); index++) {
    const difference = (a.numbers[index] ?? 0n) - (b.numbers[index] ?? 0n)
    if (difference !== 0n) return difference < 0n ? -1 : 1
  }
  if (a.words.length === 0 || b.words.length === 0) return b.words.length - a.words.length
  for (const [index, word] of a.words.entries()) {
    const match = b.words[index]
    if (match === undefined) return 1
    if (word === match) continue
    if (typeof word === typeof match) return word < match ? -1 : 1
    return typeof word === 'bigint' ? -1 : 1
  }
  return a.words.length - b.words.length
}

function partsOf(version: unknown): { numbers: bigint[]; words: (bigint | string)[] } {
  const given = typeof version === 'number' ? String(version) : version
  const text = typeof given === 'string' && given !== '' ? given.trim().replace(/^v/i, '').split('+', 1).join() : '0'
  const numbers: bigint[] = []
  let rest = text
  for (let found = /^\d+/.exec(rest); found; found = numbers.length > 0 ? /^\.\d+/.exec(rest) : null) {
    numbers.push(BigInt(found[0].replace('.', '')))
    rest = rest.slice(found[0].length)
  }
  const words = rest
    .split(/[-.]/)
    .filter((word) => word !== '')
    .map((word) => (/^\d+$/.test(word) ? BigInt(word) : word))
  return { numbers, words }
}
