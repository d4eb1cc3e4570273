import type { EntityManager } from '@mikro-orm/sql'
import { findFlagsOfVariant } from '../definitions/flag-queries.ts'
import { conflict, inArchive, invalid, notFound } from '../errors.ts'
import { fractionsFault, sumPercents } from '../evaluation/allocation.ts'
import { expectUnchanged } from '../fields.ts'
import { setGiven } from '../wire.ts'
import { experimentChanged, hasChanges, hasUnfinishedRun, lockExperiment, variantsOf } from './changes.ts'
import { type Experiment, Variant } from './entity.ts'
import { countForced, findNeeding, hasAssignments } from './queries.ts'
import type { AddVariant, SetAllocation, UpdateVariant, VariantId } from './schema.ts'
import * as wire from './schema.ts'
import { payloadCheck } from './settings.ts'

/**
 * Adds, changes and deletes variants. The shares of an experiment never exceed 100 % in total. Call these functions
 * inside the transaction of `define`.
 */

function expectChangeable(experiment: Experiment) {
  if (experiment.status === 'archived') throw inArchive(experiment.id)
  if (experiment.status === 'completed')
    throw conflict(`Experiment ${experiment.id} is completed: its allocation cannot be changed`)
}

/** Refuses to add or delete a variant of a holdout, which has exactly two. */
function expectNoHoldout({ id, kind }: Experiment) {
  if (kind === 'holdout') throw conflict(`Experiment ${id} is a holdout: it always has the variants held and not_held`)
}

function expectRoom({ id }: Experiment, others: readonly Variant[], wanted: number) {
  const allocated = sumPercents(others.map((other) => other.percent_allocated))
  if (sumPercents([allocated, wanted]) > 100)
    throw invalid(
      `${allocated} % of the traffic is already allocated, so that ${wanted} % more would exceed 100 %: change all ` +
        `shares in one call, PUT /api/experiments/${id}/allocation`,
      'percent_allocated',
    )
}

/**
 * Adds a variant. If nobody has edited the placeholder `control` of a draft, adding a variant of that name sets the
 * share of the placeholder instead.
 * @throws DomainError BAD_REQUEST if the shares would exceed 100 %, CONFLICT if the allocation cannot be changed
 */
export async function addVariant(em: EntityManager, input: AddVariant): Promise<Variant> {
  const experiment = await lockExperiment(em, input.experiment_id)
  expectChangeable(experiment)
  expectNoHoldout(experiment)
  const siblings = await variantsOf(em, experiment.id)
  const placeholder =
    experiment.status === 'draft' && siblings.find((sibling) => sibling.is_placeholder && sibling.name === input.name)
  const settings = {
    percent_allocated: input.percent_allocated,
    enabled: input.enabled ?? true,
    payload: input.payload ?? null,
  }
  payloadCheck(experiment)(settings.payload, 'payload')
  expectRoom(
    experiment,
    siblings.filter((sibling) => sibling !== placeholder),
    input.percent_allocated,
  )
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
 * Changes the given fields of a variant.
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
  const enabled = input.enabled ?? variant.enabled
  if (percent !== variant.percent_allocated || enabled !== variant.enabled) expectChangeable(experiment)
  if (percent !== variant.percent_allocated) expectRoom(experiment, siblings, percent)
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
 * keep their share.
 * @param input.shares percentages, by the id or the name of the variant
 * @returns all variants of the experiment, by ascending id
 * @throws DomainError BAD_REQUEST for an unknown variant or if the shares would exceed 100 %, CONFLICT if the
 * allocation cannot be changed
 */
export async function setAllocation(em: EntityManager, input: SetAllocation): Promise<Variant[]> {
  const { experiment_id, ...shares } = input
  const experiment = await lockExperiment(em, experiment_id)
  expectChangeable(experiment)
  if (experiment.kind === 'holdout')
    throw conflict(`Experiment ${experiment.id} is a holdout: change its percent_held, which sets both shares`)
  const variants = await variantsOf(em, experiment.id)
  const named = new Map<Variant, number>()
  for (const [reference, percent] of Object.entries(shares)) {
    const variant = findNamed(variants, reference)
    if (!variant)
      throw invalid(
        `experiment ${experiment.id} has no such variant: its variants are ` +
          variants.map(({ id, name }) => `${id} (${name})`).join(', '),
        reference,
      )
    if (named.has(variant)) throw invalid(`variant ${variant.id} (${variant.name}) is named twice`, reference)
    named.set(variant, percent)
  }
  const total = sumPercents(variants.map((variant) => named.get(variant) ?? variant.percent_allocated))
  if (total > 100) throw invalid(`The shares of experiment ${experiment.id} would add up to ${total} %, above 100 %`)
  if (total === 0 && hasUnfinishedRun(experiment))
    throw invalid(`The shares would add up to 0 %: pause experiment ${experiment.id} to enrol nobody, or give shares`)
  const fault = fractionsFault(Object.values(shares))
  if (fault !== null) throw invalid(fault)
  for (const [variant, percent] of named) Object.assign(variant, { percent_allocated: percent, is_placeholder: false })
  if (hasChanges(em)) await experimentChanged(em, experiment, { targeting: false })
  return variants
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
  expectChangeable(experiment)
  expectNoHoldout(experiment)
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
