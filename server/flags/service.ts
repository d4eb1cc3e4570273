import { isDeepStrictEqual } from 'node:util'
import type { EntityManager } from '@mikro-orm/sql'
import { expectUsableKey } from '../definitions/derived-key.ts'
import { readFlagHistory, recordDeletion, recordFlags } from '../definitions/flag-queries.ts'
import { lockKeys, lockRules } from '../definitions/queries.ts'
import { valueCheck } from '../definitions/values.ts'
import { invalid, notFound } from '../errors.ts'
import { expectUnchanged, expectVersion, setGiven } from '../fields.ts'
import { DEFAULT_LIMIT } from '../wire.ts'
import { Flag } from './entity.ts'
import { findNamed, readStaleness, selectFlags } from './queries.ts'
import { prepareRules } from './rules.ts'
import type {
  CreateFlag,
  FlagHistoryOf,
  FlagOutput,
  FlagRule,
  FlagUses,
  FlagVersion,
  GivenRule,
  ListFlags,
  UpdateFlag,
} from './schema.ts'
import * as wire from './schema.ts'

/**
 * Creates a flag.
 * @throws DomainError BAD_REQUEST with the path of a fault; the database refuses a key that is taken
 */
export async function createFlag(em: EntityManager, input: CreateFlag): Promise<FlagOutput> {
  const { key, type, default_value } = input
  expectUsableKey(key)
  const value_schema = input.value_schema ?? null
  const checkValue = checkOf(type, value_schema)
  checkValue(default_value, 'default_value')
  const rules = await prepareRules(em, input.rules ?? [], [], checkValue)
  await lockKeys(em)
  em.create(Flag, {
    key,
    type,
    value_schema,
    default_value,
    ...rules,
    enabled: input.enabled ?? true,
    description: input.description ?? null,
    owner: input.owner ?? null,
    tags: input.tags ?? [],
    expected_life_days: input.expected_life_days ?? null,
  })
  await em.flush()
  await recordFlags(em, [key])
  return getFlag(em, key)
}

/** Makes the check of the values of a flag. @throws DomainError BAD_REQUEST if the schema is bad or does not apply */
function checkOf(type: Flag['type'], schema: Flag['value_schema']) {
  if (schema !== null && type !== 'object')
    throw invalid(`is only for flags of type object: this flag is of type ${type}`, 'value_schema')
  return valueCheck(type, schema, 'value_schema')
}

/** Reads the row of a flag from the database. @throws DomainError NOT_FOUND */
async function findFlag(em: EntityManager, key: string): Promise<Flag> {
  const flag = await em.findOne(Flag, key, { refresh: true })
  if (!flag) throw notFound('Flag', key)
  return flag
}

/** Reads a flag, with the reasons why it may be stale. @throws DomainError NOT_FOUND */
export async function getFlag(em: EntityManager, key: string): Promise<FlagOutput> {
  return { ...(await findFlag(em, key)), stale: await readStaleness(em, key) }
}

/** Lists the flags that match a filter, by ascending key. */
export async function listFlags(em: EntityManager, filter: ListFlags): Promise<FlagOutput[]> {
  const { sort, after } = filter
  if (after !== undefined && sort?.endsWith('created_at') && !(await em.count(Flag, { key: after })))
    throw invalid(`${after} does not exist any more: begin with the first page again`, 'after')
  const found = await selectFlags(em, filter, filter.limit ?? DEFAULT_LIMIT)
  const flags = new Map(
    (await em.find(Flag, { key: { $in: found.map(({ key }) => key) } })).map((row) => [row.key, row]),
  )
  return found.flatMap(({ key, stale }) => {
    const flag = flags.get(key)
    return flag ? [{ ...flag, stale }] : []
  })
}

/**
 * Changes the given fields of a flag. The type cannot be changed, because applications rely on it. `lockRules` makes
 * concurrent changes wait for one another, so that no change is lost.
 * @throws DomainError NOT_FOUND, CONFLICT if `version` is not the current one, BAD_REQUEST with the path of a fault
 */
export async function updateFlag(em: EntityManager, input: UpdateFlag): Promise<FlagOutput> {
  await lockRules(em)
  const flag = await findFlag(em, input.key)
  expectVersion(`Flag ${flag.key}`, flag.version, input.version)
  await expectUnchanged({ update: wire.updateFlag, answer: wire.flag }, input, () => getFlag(em, flag.key))
  const before = { ...flag }
  setGiven(
    flag,
    input,
    'value_schema',
    'default_value',
    'enabled',
    'description',
    'owner',
    'tags',
    'expected_life_days',
  )
  if (input.value_schema !== undefined || input.default_value !== undefined || input.rules !== undefined) {
    const checkValue = checkOf(flag.type, flag.value_schema)
    checkValue(flag.default_value, 'default_value')
    Object.assign(flag, await prepareRules(em, input.rules ?? flag.rules.map(asGiven), flag.rules, checkValue))
  }
  if (!isDeepStrictEqual({ ...flag }, before)) {
    await em.flush()
    await recordFlags(em, [flag.key])
  }
  return getFlag(em, flag.key)
}

/** Turns a stored rule into the form in which callers give rules. */
const asGiven = ({ description, condition, from, until, ...rule }: FlagRule): GivenRule => ({
  ...rule,
  description: description ?? undefined,
  condition: condition ?? undefined,
  from: from === null ? undefined : new Date(from),
  until: until === null ? undefined : new Date(until),
})

/** Deletes a flag; its history stays. Applications that still evaluate the key get their own defaults. */
export async function deleteFlag(em: EntityManager, key: string) {
  await lockRules(em)
  await em.remove(await findFlag(em, key)).flush()
  await recordDeletion(em, key)
  return { message: 'Flag deleted successfully' }
}

/** Lists every version of a flag, deleted flags included, by ascending number. @throws DomainError NOT_FOUND */
export async function flagHistory(em: EntityManager, input: FlagHistoryOf): Promise<FlagVersion[]> {
  const rows = await readFlagHistory(em, input.key, input.after ?? 0, input.limit ?? DEFAULT_LIMIT)
  if (rows.length === 0 && (await readFlagHistory(em, input.key, 0, 1)).length === 0) throw notFound('Flag', input.key)
  return rows.map(({ from, definition, ...row }) => ({
    ...row,
    from: new Date(from),
    definition: definition as FlagVersion['definition'],
  }))
}

/** Lists the segments and experiments that the rules of a flag name. @throws DomainError NOT_FOUND */
export async function usesOfFlag(em: EntityManager, key: string): Promise<FlagUses> {
  const named = await findNamed(em, key)
  if (!named) throw notFound('Flag', key)
  return named
}
