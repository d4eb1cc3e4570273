import { isDeepStrictEqual } from 'node:util'
import type { EntityManager } from '@mikro-orm/sql'
import { lockRules, lockVersions } from '../definitions/queries.ts'
import { compileGiven, compileRule, expectMeaning, unknownSegment } from '../definitions/rules.ts'
import type { StoredFlagRule } from '../definitions/stored.ts'
import type { CheckValue } from '../definitions/values.ts'
import { DomainError, invalid, notItsVariant } from '../errors.ts'
import { fractionsFault, sumPercents } from '../evaluation/allocation.ts'
import { EDITION } from '../evaluation/condition.ts'
import { Experiment, Variant } from '../experiments/entity.ts'
import { Segment } from '../segments/entity.ts'
import { type PreparedRule, withIds } from './rule-ids.ts'
import { type FlagRule, type GivenRule, MOST_SEGMENTS } from './schema.ts'

/** The largest size of the rules of a flag, in characters of JSON. */
const MOST_CHARACTERS = 131_072

/** The rules of a flag as they are stored, with the ids of the segments and experiments that the rules name. */
type PreparedRules = { rules: FlagRule[]; segment_ids: number[]; experiment_ids: number[] }

/**
 * Checks the rules of a flag before they are stored. The segments and experiments that the rules name are locked, so
 * that they exist until the transaction ends. Takes the lock of `lockRules`, then locks experiments: call this before
 * the flag is locked.
 * @param stored the rules of the flag until now, whose ids rules without an id keep
 * @param checkValue checks a value against the type and the schema of the flag
 * @throws DomainError BAD_REQUEST with the path of the first fault
 */
export async function prepareRules(
  em: EntityManager,
  given: readonly GivenRule[],
  stored: readonly FlagRule[],
  checkValue: CheckValue,
): Promise<PreparedRules> {
  if (given.length === 0) return { rules: [], segment_ids: [], experiment_ids: [] }
  const characters = JSON.stringify(given).length
  if (characters > MOST_CHARACTERS)
    throw invalid(`${characters} characters of JSON are above the limit of ${MOST_CHARACTERS}`, 'rules')
  await lockRules(em)
  const segment_ids = new Set<number>()
  for (const [index, rule] of given.entries()) {
    if (rule.condition) {
      const at = ['rules', index, 'condition']
      for (const id of await compileRule(em, rule.condition, at)) segment_ids.add(id)
      const former = stored.find(({ condition }) => isDeepStrictEqual(condition, rule.condition))
      expectMeaning(rule.condition, former?.condition ?? null, ...at)
    }
    for (const id of rule.segment_ids ?? []) segment_ids.add(id)
  }
  expectBounded(given)
  if (segment_ids.size > MOST_SEGMENTS)
    throw invalid(`${segment_ids.size} segments are named in all: name at most ${MOST_SEGMENTS}`, 'rules')
  await expectSegments(em, given)
  const experiment_ids = [...new Set(given.flatMap(({ experiment }) => experiment?.experiment_id ?? []))]
  await expectExperiments(em, given, experiment_ids)
  const rules = given.map((rule, index): PreparedRule => {
    expectPeriod(rule, index)
    return {
      id: rule.id,
      description: rule.description ?? null,
      condition: rule.condition ?? null,
      segment_ids: [...new Set(rule.segment_ids ?? [])],
      from: rule.from?.toISOString() ?? null,
      until: rule.until?.toISOString() ?? null,
      ...checkServed(rule, index, stored, checkValue),
    }
  })
  return {
    rules: withIds(rules, stored).map((rule) => ({ ...rule, ...editionOf(rule, stored) })),
    segment_ids: [...segment_ids],
    experiment_ids,
  }
}

/** Checks that the conditions of all rules together keep the limits of one condition, in size and in time. */
function expectBounded(given: readonly GivenRule[]) {
  try {
    compileGiven({ $and: given.flatMap(({ condition }) => condition ?? []) }, 'rules')
  } catch (error) {
    throw error instanceof DomainError ? invalid(`the conditions together: ${error.message}`, 'rules') : error
  }
}

/** Finds the edition of a rule's condition: that of the stored rule until the condition changes. */
function editionOf({ id, condition }: FlagRule, stored: readonly StoredFlagRule[]): Pick<StoredFlagRule, 'edition'> {
  const former = stored.find((rule) => rule.id === id)
  if (!former || !isDeepStrictEqual(condition, former.condition)) return { edition: EDITION }
  return former.edition === undefined ? {} : { edition: former.edition }
}

function expectPeriod({ from, until }: GivenRule, index: number) {
  if (from && until && until <= from) throw invalid('must be after from', 'rules', index, 'until')
}

/** Checks what a rule gives, which is exactly one of a value, a rollout and an experiment. */
function checkServed(
  rule: GivenRule,
  index: number,
  stored: readonly FlagRule[],
  checkValue: CheckValue,
): Pick<FlagRule, 'value' | 'rollout' | 'experiment'> {
  const kinds = (['value', 'rollout', 'experiment'] as const).filter((kind) => rule[kind] != null)
  const [kind, other] = kinds
  if (kind === undefined) throw invalid('is missing: give value, rollout or experiment', 'rules', index, 'value')
  if (other !== undefined) throw invalid(`cannot be combined with ${kind}: give one of the two`, 'rules', index, other)
  if (kind === 'value') {
    checkValue(rule.value, 'rules', index, 'value')
    return { value: rule.value as NonNullable<FlagRule['value']> }
  }
  if (rule.rollout) {
    for (const [shareIndex, { value }] of rule.rollout.entries())
      checkValue(value, 'rules', index, 'rollout', shareIndex, 'value')
    expectPercents(rule.rollout, stored, 'rules', index, 'rollout')
    return { rollout: rule.rollout }
  }
  const experiment = rule.experiment as NonNullable<FlagRule['experiment']>
  for (const [valueIndex, { value }] of experiment.values.entries())
    checkValue(value, 'rules', index, 'experiment', 'values', valueIndex, 'value')
  return { experiment }
}

/** Checks the shares of a rollout. Fractions that earlier versions stored are accepted unchanged. */
function expectPercents(
  rollout: NonNullable<GivenRule['rollout']>,
  stored: readonly FlagRule[],
  ...path: (string | number)[]
) {
  const percents = rollout.map(({ percent }) => percent)
  const total = sumPercents(percents)
  if (total > 100) throw invalid(`${total} % in all are above 100 %`, ...path)
  const fault = fractionsFault(percents)
  if (fault !== null && !stored.some((rule) => isDeepStrictEqual(rule.rollout, rollout))) throw invalid(fault, ...path)
}

async function expectSegments(em: EntityManager, given: readonly GivenRule[]) {
  const ids = [...new Set(given.flatMap(({ segment_ids }) => segment_ids ?? []))]
  if (ids.length === 0) return
  const known = new Set((await em.find(Segment, { id: { $in: ids } })).map(({ id }) => id))
  for (const [index, { segment_ids }] of given.entries())
    for (const [idIndex, id] of (segment_ids ?? []).entries())
      if (!known.has(id)) throw invalid(unknownSegment(id), 'rules', index, 'segment_ids', idIndex)
}

/**
 * Checks that the rules name existing experiments, neither holdouts nor archived ones, and their own variants. Locks
 * the experiments `for share`.
 */
async function expectExperiments(em: EntityManager, given: readonly GivenRule[], ids: readonly number[]) {
  if (ids.length === 0) return
  await lockVersions(em, ids)
  const experiments = new Map((await em.find(Experiment, { id: { $in: [...ids] } })).map((row) => [row.id, row]))
  const rows = await em.find(Variant, { experiment_id: { $in: [...ids] } }, { orderBy: { id: 'asc' } })
  const variants = Map.groupBy(rows, (row) => row.experiment_id)
  for (const [index, { experiment: named }] of given.entries()) {
    if (!named) continue
    const at = ['rules', index, 'experiment'] as const
    const experiment = experiments.get(named.experiment_id)
    if (!experiment) throw invalid(`experiment ${named.experiment_id} does not exist`, ...at, 'experiment_id')
    if (experiment.kind === 'holdout')
      throw invalid(
        `experiment ${experiment.id} is a holdout: name an experiment of kind experiment`,
        ...at,
        'experiment_id',
      )
    if (experiment.status === 'archived')
      throw invalid(`experiment ${experiment.id} is archived: name one that is not`, ...at, 'experiment_id')
    expectVariants(named, variants.get(experiment.id) ?? [], at)
  }
}

/** Checks that each value names a variant of the experiment, and that no variant is named twice. */
function expectVariants(
  { experiment_id, values }: NonNullable<GivenRule['experiment']>,
  variants: readonly Variant[],
  at: readonly (string | number)[],
) {
  const seen = new Set<number>()
  for (const [valueIndex, { variant_id }] of values.entries()) {
    const path = [...at, 'values', valueIndex, 'variant_id']
    if (!variants.some(({ id }) => id === variant_id))
      throw invalid(notItsVariant(experiment_id, variant_id, variants), ...path)
    if (seen.has(variant_id)) throw invalid(`${variant_id} is named twice`, ...path)
    seen.add(variant_id)
  }
}
