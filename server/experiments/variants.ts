import type { EntityManager } from '@mikro-orm/sql'
import { findFlagsOfVariant } from '../definitions/flag-queries.ts'
import { conflict, inArchive, invalid, namesOf, notFound } from '../errors.ts'
import { sumPercents } from '../evaluation/allocation.ts'
import { expectUnchanged, setGiven } from '../fields.ts'
import { experimentChanged, hasChanges, hasUnfinishedRun, lockExperiment, variantsOf } from './changes.ts'
import { type Experiment, Variant } from './entity.ts'
import { countForced, findNeeding, hasAssignments } from './queries.ts'
import type { AddVariant, SetAllocation, UpdateVariant, VariantId } from './schema.ts'
import * as wire from './schema.ts'
import { payloadCheck } from './settings.ts'
import { sharesFault, totalOf } from './shares.ts'

/**
 * Adds, changes and deletes variants. The shares of an experiment never exceed 100 % in total. Call these functions
 * inside the transaction of `define`.
 */

/** Refuses to add or delete a variant where the results of an ended run list the variants, or of a holdout. */
function expectExtensible({ id, kind, status }: Experiment) {
  if (status === 'archived') throw inArchive(id)
  if (status === 'completed')
    throw conflict(
      `Experiment ${id} is completed: its shares can be changed (PUT /api/experiments/${id}/allocation) and its ` +
        'variants enabled or disabled for a new run, but none can be added or deleted before that run begins',
    )
  if (kind === 'holdout') throw conflict(`Experiment ${id} is a holdout: it always has the variants held and not_held`)
}

function expectRoom({ id }: Experiment, others: readonly Variant[], wanted: number) {
  const allocated = totalOf(others)
  if (sumPercents([allocated, wanted]) > 100)
    throw invalid(
      `${allocated} % of the traffic is already allocated, so that ${wanted} % more would exceed 100 %: change all ` +
        `shares in one call, PUT /api/experiments/${id}/allocation`,
      'percent_allocated',
    )
}

/**
 * Checks the shares of all variants after a change of some. A single share below 1 is legitimate, because a share of
 * another variant may follow.
 * @throws DomainError BAD_REQUEST with the path if the shares are fractions of 1
 */
function expectPercentages(variants: readonly Pick<Variant, 'percent_allocated'>[], path: string) {
  const fault = sharesFault(variants)
  if (fault !== null) throw invalid(fault, path)
}

/** @throws DomainError CONFLICT if another variant has the name, with the call that changes its share instead */
function expectFree({ id }: Experiment, others: readonly Variant[], name: string) {
  const taken = others.find((other) => other.name === name)
  if (taken)
    throw conflict(
      `The name is taken: variant ${taken.id} of experiment ${id} is named ${name}. Choose another name, or change ` +
        `its share of ${taken.percent_allocated} % with PUT /api/experiments/${id}/allocation`,
    )
}

/**
 * Adds a variant. If nobody has edited the placeholder `control` of a draft, adding a variant of that name sets the
 * share of the placeholder instead.
 * @throws DomainError BAD_REQUEST if the shares would exceed 100 % or are fractions of 1, CONFLICT if the name is taken
 * or the status allows no new variant
 */
export async function addVariant(em: EntityManager, input: AddVariant): Promise<Variant> {
  const experiment = await lockExperiment(em, input.experiment_id)
  expectExtensible(experiment)
  const siblings = await variantsOf(em, experiment.id)
  const placeholder =
    experiment.status === 'draft' && siblings.find((sibling) => sibling.is_placeholder && sibling.name === input.name)
  const settings = {
    percent_allocated: input.percent_allocated,
    enabled: input.enabled ?? true,
    payload: input.payload ?? null,
  }
  payloadCheck(experiment)(settings.payload, 'payload')
  const others = siblings.filter((sibling) => sibling !== placeholder)
  expectFree(experiment, others, input.name)
  expectRoom(experiment, others, input.percent_allocated)
  expectPercentages([...others, settings], 'percent_allocated')
  const variant = placeholder
    ? Object.assign(placeholder, settings, { is_placeholder: false })
    : em.create(Variant, { experiment_id: experiment.id, name: input.name, ...settings })
  await experimentChanged(em, experiment, { targeting: false })
  return variant
}

/** Reads a variant and the other variants of its experiment. @throws DomainError NOT_FOUND */
async function findVariant(em: EntityManager, { experiment_id, variant_id }: VariantId) {
  const variants = await variantsOf(em, experiment_id)
  const variant = variants.find((candidate) => candidate.id === variant_id)
  if (!variant) throw notFound('Variant', `${variant_id} of experiment ${experiment_id}`)
  return { variant, siblings: variants.filter((sibling) => sibling !== variant) }
}

/**
 * Changes the given fields of a variant. A share and `enabled` of a completed experiment are those of its next run.
 * @throws DomainError BAD_REQUEST if a field does not fit, CONFLICT if it cannot be changed now
 */
export async function updateVariant(em: EntityManager, input: UpdateVariant): Promise<Variant> {
  const experiment = await lockExperiment(em, input.experiment_id)
  const { variant, siblings } = await findVariant(em, input)
  await expectUnchanged({ update: wire.updateVariant, answer: wire.variant }, input, () => variant)
  if (experiment.status === 'archived') throw inArchive(experiment.id)
  if (experiment.kind === 'holdout') {
    if (input.enabled === false) throw invalid('a variant of a holdout cannot be disabled', 'enabled')
    if (input.is_control && !variant.is_control)
      throw invalid('the control of a holdout cannot be changed', 'is_control')
    if (input.percent_allocated !== undefined && input.percent_allocated !== variant.percent_allocated)
      throw invalid('a holdout sets both shares together: change percent_held of the experiment', 'percent_allocated')
  }
  const percent = input.percent_allocated ?? variant.percent_allocated
  if (input.name !== undefined) expectFree(experiment, siblings, input.name)
  if (percent !== variant.percent_allocated) {
    expectRoom(experiment, siblings, percent)
    expectPercentages([...siblings, { percent_allocated: percent }], 'percent_allocated')
  }
  if (input.is_control === false && variant.is_control)
    throw invalid('cannot be false for the control: make another variant the control', 'is_control')
  if (input.is_control && !variant.is_control) {
    if (experiment.status !== 'draft')
      throw conflict(`The control of experiment ${experiment.id} cannot be changed after its first start`)
    for (const sibling of siblings) sibling.is_control = false
    variant.is_control = true
  }
  if (input.payload !== undefined) payloadCheck(experiment)(input.payload, 'payload')
  setGiven(variant, input, 'name', 'percent_allocated', 'enabled', 'payload')
  variant.is_placeholder = false
  if (hasChanges(em)) await experimentChanged(em, experiment, { targeting: false })
  return variant
}

/**
 * Changes the shares of several variants in one step, which opens one allocation period. Variants that are not named
 * keep their share. The shares of a completed experiment are those of its next run.
 * @param input.shares percentages, by the id or the name of the variant
 * @returns all variants of the experiment, by ascending id
 * @throws DomainError BAD_REQUEST for an unknown variant or for shares that would exceed 100 % or are fractions of 1,
 * CONFLICT for an archived experiment or a holdout
 */
export async function setAllocation(em: EntityManager, input: SetAllocation): Promise<Variant[]> {
  const { experiment_id, ...shares } = input
  const experiment = await lockExperiment(em, experiment_id)
  if (experiment.status === 'archived') throw inArchive(experiment.id)
  if (experiment.kind === 'holdout')
    throw conflict(`Experiment ${experiment.id} is a holdout: change its percent_held, which sets both shares`)
  const variants = await variantsOf(em, experiment.id)
  const named = new Map<Variant, number>()
  for (const [reference, percent] of Object.entries(shares)) {
    const variant = findNamed(variants, reference)
    if (!variant)
      throw invalid(`experiment ${experiment.id} has no such variant: its variants are ${namesOf(variants)}`, reference)
    if (named.has(variant)) throw invalid(`variant ${variant.id} (${variant.name}) is named twice`, reference)
    named.set(variant, percent)
  }
  const [first] = Object.keys(shares)
  if (first !== undefined) expectAllocation(experiment, sharesAfter(variants, named), first)
  for (const [variant, percent] of named) Object.assign(variant, { percent_allocated: percent, is_placeholder: false })
  if (hasChanges(em)) await experimentChanged(em, experiment, { targeting: false })
  return variants
}

const sharesAfter = (variants: readonly Variant[], named: ReadonlyMap<Variant, number>) =>
  variants.map((variant) => ({ percent_allocated: named.get(variant) ?? variant.percent_allocated }))

/** Checks the shares that all variants would have. @param path the field that stands for all of them in a fault */
function expectAllocation(
  experiment: Experiment,
  variants: readonly Pick<Variant, 'percent_allocated'>[],
  path: string,
) {
  const { id } = experiment
  const total = totalOf(variants)
  if (total > 100)
    throw invalid(
      `the shares of experiment ${id} would add up to ${total} %, above 100 %; variants that are not named keep theirs`,
      path,
    )
  if (total === 0 && hasUnfinishedRun(experiment))
    throw invalid(`the shares would add up to 0 %: pause experiment ${id} to enrol nobody, or give shares`, path)
  expectPercentages(variants, path)
}

/** Finds a variant by its id or its name. Digits alone are an id. */
const findNamed = (variants: readonly Variant[], reference: string) =>
  variants.find(({ id, name }) => (/^\d+$/.test(reference) ? String(id) === reference : name === reference))

/**
 * Deletes a variant.
 * @throws DomainError CONFLICT if the variant is the control, if anybody was assigned to it, or if a prerequisite, a
 * flag or an override names it
 */
export async function deleteVariant(em: EntityManager, input: VariantId) {
  const experiment = await lockExperiment(em, input.experiment_id)
  const { variant } = await findVariant(em, input)
  expectExtensible(experiment)
  if (variant.is_control) throw conflict(`Variant ${variant.id} is the control: make another one the control first`)
  if (await hasAssignments(em, experiment.id, variant.id))
    throw conflict(`Variant ${variant.id} has assignments: disable it instead`)
  const needing = await findNeeding(em, variant.id)
  if (needing.length > 0)
    throw conflict(`A prerequisite of experiment ${needing.join(', ')} names variant ${variant.id}: change that first`)
  const flags = await findFlagsOfVariant(em, experiment.id, variant.id)
  if (flags.length > 0)
    throw conflict(`A rule of flag ${flags.join(', ')} has a value for variant ${variant.id}: change that rule first`)
  const forced = await countForced(em, variant.id)
  if (forced > 0) throw conflict(`Variant ${variant.id} is forced on ${forced} users: remove these overrides first`)
  em.remove(variant)
  await experimentChanged(em, experiment, { targeting: false })
  return { message: 'Variant deleted successfully' }
}
