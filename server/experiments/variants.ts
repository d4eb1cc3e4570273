import type { EntityManager } from '@mikro-orm/sql'
import { findFlagsOfVariant } from '../definitions/flag-queries.ts'
import { conflict, invalid, notFound } from '../errors.ts'
import { sumPercents } from '../evaluation/allocation.ts'
import { setGiven } from '../wire.ts'
import { experimentChanged, lockExperiment, variantsOf } from './changes.ts'
import { type Experiment, Variant } from './entity.ts'
import { countForced, findNeeding, hasAssignments } from './queries.ts'
import type { AddVariant, UpdateVariant, VariantId } from './schema.ts'
import { payloadCheck } from './settings.ts'

/** The versions of an experiment; their shares never exceed 100 percent in all. Inside the transaction of `define`. */

function expectChangeable(experiment: Experiment) {
  if (experiment.status === 'completed' || experiment.status === 'archived')
    throw conflict(`Experiment ${experiment.id} is ${experiment.status}: its allocation stays as it is`)
}

/** A holdout keeps the two variants that it came with. */
function expectOwnVariants({ id, kind }: Experiment) {
  if (kind === 'holdout') throw conflict(`Experiment ${id} is a holdout: it has the variants held and not_held`)
}

function expectRoom(others: readonly Variant[], wanted: number) {
  const allocated = sumPercents(others.map((other) => other.percent_allocated))
  if (sumPercents([allocated, wanted]) > 100)
    throw invalid(
      `${allocated} % of the traffic is already allocated: ${wanted} % more would exceed 100 %`,
      'percent_allocated',
    )
}

/**
 * Adds a variant. Naming `control` in a draft whose automatic control is untouched sets that one's share instead.
 */
export async function addVariant(em: EntityManager, input: AddVariant): Promise<Variant> {
  const experiment = await lockExperiment(em, input.experiment_id)
  expectChangeable(experiment)
  expectOwnVariants(experiment)
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
    siblings.filter((sibling) => sibling !== placeholder),
    input.percent_allocated,
  )
  const variant = placeholder
    ? Object.assign(placeholder, settings, { is_placeholder: false })
    : em.create(Variant, { experiment_id: experiment.id, name: input.name, ...settings })
  await experimentChanged(em, experiment, { targeting: false })
  return variant
}

async function findVariant(em: EntityManager, { experiment_id, variant_id }: VariantId) {
  const variants = await variantsOf(em, experiment_id)
  const variant = variants.find((candidate) => candidate.id === variant_id)
  if (!variant) throw notFound('Variant', `${variant_id} of experiment ${experiment_id}`)
  return { variant, siblings: variants.filter((sibling) => sibling !== variant) }
}

export async function updateVariant(em: EntityManager, input: UpdateVariant): Promise<Variant> {
  const experiment = await lockExperiment(em, input.experiment_id)
  const { variant, siblings } = await findVariant(em, input)
  if (experiment.status === 'archived') throw conflict(`Experiment ${experiment.id} is archived and stays as it is`)
  if (experiment.kind === 'holdout') {
    if (input.enabled === false) throw invalid('A variant of a holdout cannot be disabled', 'enabled')
    if (input.is_control && !variant.is_control) throw invalid('Those who are held are the control', 'is_control')
    if (input.percent_allocated !== undefined && input.percent_allocated !== variant.percent_allocated)
      throw invalid('The shares of a holdout are set together, by its percent_held', 'percent_allocated')
  }
  const percent = input.percent_allocated ?? variant.percent_allocated
  const enabled = input.enabled ?? variant.enabled
  if (percent !== variant.percent_allocated || enabled !== variant.enabled) expectChangeable(experiment)
  if (percent !== variant.percent_allocated) expectRoom(siblings, percent)
  if (input.is_control && !variant.is_control) {
    if (experiment.status !== 'draft')
      throw conflict(`The control of experiment ${experiment.id} is fixed since it started`)
    for (const sibling of siblings) sibling.is_control = false
    variant.is_control = true
  }
  if (input.payload !== undefined) payloadCheck(experiment)(input.payload, 'payload')
  setGiven(variant, input, 'name', 'percent_allocated', 'enabled', 'payload')
  variant.is_placeholder = false
  await experimentChanged(em, experiment, { targeting: false })
  return variant
}

/** Only a variant that nobody was ever assigned to, and not the control. */
export async function deleteVariant(em: EntityManager, input: VariantId) {
  const experiment = await lockExperiment(em, input.experiment_id)
  const { variant } = await findVariant(em, input)
  expectChangeable(experiment)
  expectOwnVariants(experiment)
  if (variant.is_control) throw conflict(`Variant ${variant.id} is the control: make another one the control first`)
  if (await hasAssignments(em, experiment.id, variant.id))
    throw conflict(`Variant ${variant.id} has assignments: disable it instead`)
  const needing = await findNeeding(em, variant.id)
  if (needing.length > 0)
    throw conflict(`Variant ${variant.id} is in a prerequisite of experiment ${needing.join(', ')}`)
  const mapping = await findFlagsOfVariant(em, experiment.id, variant.id)
  if (mapping.length > 0) throw conflict(`Variant ${variant.id} has a value in a rule of flag ${mapping.join(', ')}`)
  const forced = await countForced(em, variant.id)
  if (forced > 0) throw conflict(`Variant ${variant.id} is forced on ${forced} users: remove these overrides first`)
  em.remove(variant)
  await experimentChanged(em, experiment, { targeting: false })
  return { message: 'Variant deleted successfully' }
}
