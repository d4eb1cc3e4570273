import { setImmediate as nextTurn } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { EntityManager } from '@mikro-orm/sql'
import { expectUsableKey } from '../definitions/derived-key.ts'
import { lockRules, readClock } from '../definitions/queries.ts'
import { compileRule, expectMeaning } from '../definitions/rules.ts'
import { type CheckValue, valueCheck } from '../definitions/values.ts'
import { conflict, inArchive, invalid } from '../errors.ts'
import { effectFault } from '../wire.ts'
import { hasUnfinishedRun, variantsOf } from './changes.ts'
import type { Experiment } from './entity.ts'
import { expectHoldout, expectPrerequisites } from './prerequisites.ts'
import type { ExperimentKind, UpdateExperiment } from './schema.ts'
import { type GivenSettings, SETTING_NAMES, SETTINGS, type SettingName } from './settings-schema.ts'

/** Checks settings of experiments, and refuses a bad one with the path of the fault. */

type Given = GivenSettings & { percent_held?: number | undefined }

/**
 * Compiles the condition, and takes the lock that guards rules and chains of prerequisites. Call this before any
 * experiment is locked.
 * @returns the ids of the segments that the condition names
 * @throws DomainError BAD_REQUEST with the path of a fault in the condition
 */
export async function prepareRules(em: EntityManager, input: Given): Promise<number[]> {
  if (input.prerequisites?.length) await lockRules(em)
  return input.condition ? compileRule(em, input.condition, ['condition']) : []
}

/** Lists the ids of the experiments that the settings name. They are locked together with the experiment itself. */
export const referredBy = ({ prerequisites, holdout_id }: Given): number[] => [
  ...(prerequisites ?? []).map((prerequisite) => prerequisite.experiment_id),
  ...(holdout_id ? [holdout_id] : []),
]

/**
 * Checks that the settings fit the kind. A holdout has few settings, because the users whom it holds are compared with
 * everybody else under every experiment that names it.
 * @throws DomainError BAD_REQUEST with the path of the setting that does not fit
 */
export function expectKind(kind: ExperimentKind, input: Given) {
  if (kind !== 'holdout') {
    if (input.percent_held !== undefined)
      throw invalid('is for holdouts alone: leave it out, or create one with kind: holdout', 'percent_held')
    return
  }
  if (input.prerequisites?.length) throw invalid('a holdout cannot have prerequisites', 'prerequisites')
  if (input.holdout_id) throw invalid('a holdout cannot have a holdout', 'holdout_id')
  if (input.mode === 'aa') throw invalid('aa is not possible for a holdout: give ab', 'mode')
  if (input.on_ineligible === 'leave_out')
    throw invalid('leave_out is not possible for a holdout: give keep', 'on_ineligible')
  if (input.exposure === 'on_report')
    throw invalid(
      'on_report is not possible for a holdout, which exposes users at their first decision: give on_check',
      'exposure',
    )
}

/**
 * Checks a new condition, newly named prerequisites and a newly named holdout.
 * @throws DomainError BAD_REQUEST with the path
 */
export async function expectReferences(em: EntityManager, experiment: Experiment | null, input: Given) {
  expectMeaning(input.condition, experiment?.condition ?? null, 'condition')
  if (input.prerequisites?.length && !isDeepStrictEqual(input.prerequisites, experiment?.prerequisites))
    await expectPrerequisites(em, experiment?.id ?? null, input.prerequisites)
  if (input.holdout_id && input.holdout_id !== experiment?.holdout_id) await expectHoldout(em, input.holdout_id)
}

/**
 * Checks that a new planned effect is a fraction. Larger ones that earlier versions stored are accepted unchanged.
 * @throws DomainError BAD_REQUEST with the path
 */
export function expectPlannedEffect(before: Experiment | null, { planned_effect: effect }: Given) {
  if (effect == null || effect === before?.planned_effect) return
  const fault = effectFault(effect)
  if (fault !== null) throw invalid(fault, 'planned_effect')
}

type Fixed = NonNullable<(typeof SETTINGS)[SettingName]['fixed']>

/** @throws DomainError CONFLICT if a setting that the input changes cannot be changed now */
export function expectChangeable(experiment: Experiment, input: UpdateExperiment) {
  const { id, status } = experiment
  if (status === 'archived') throw inArchive(id)
  if (input.key !== undefined && input.key !== experiment.key) {
    expectUnlocked(experiment, 'key', 'since start')
    expectUsableKey(input.key)
  }
  for (const name of SETTING_NAMES) {
    const { fixed } = SETTINGS[name]
    if (fixed && isChanged(experiment, input, name)) expectUnlocked(experiment, name, fixed)
  }
}

function expectUnlocked(experiment: Experiment, name: string, fixed: Fixed) {
  const { id, status } = experiment
  switch (fixed) {
    case 'since start':
      if (status !== 'draft') throw conflict(`The ${name} of experiment ${id} cannot be changed after its first start`)
      return
    case 'during run':
      if (hasUnfinishedRun(experiment))
        throw conflict(`The ${name} of experiment ${id} cannot be changed while it is ${status}: complete it first`)
      return
    default:
      throw fixed satisfies never
  }
}

const isChanged = (experiment: Experiment, given: GivenSettings, name: SettingName) =>
  given[name] !== undefined && !isDeepStrictEqual(given[name], experiment[name])

/** Tells whether the input changes who is targeted, or the treatment of users who are no longer targeted. */
export const changesTargeting = (experiment: Experiment, given: GivenSettings): boolean =>
  SETTING_NAMES.some((name) => SETTINGS[name].targets && isChanged(experiment, given, name))

/**
 * Makes a check of payloads against the experiment's type and schema. A null payload fits always, and any payload fits
 * if there is neither type nor schema.
 * @throws DomainError BAD_REQUEST if the schema itself is bad
 */
export function payloadCheck({ payload_type, payload_schema }: Experiment): CheckValue {
  if (payload_type === null && payload_schema === null) return () => {}
  const check = valueCheck(payload_type, payload_schema, 'payload_schema')
  return (payload, ...path) => {
    if (payload !== null) check(payload, ...path)
  }
}

/**
 * Checks the stored payloads if the input changes their type or schema.
 * @throws DomainError BAD_REQUEST with the first variant whose payload does not fit
 */
export async function expectPayloads(em: EntityManager, experiment: Experiment, input: Given) {
  if (input.payload_type === undefined && input.payload_schema === undefined) return
  const check = payloadCheck(experiment)
  for (const { id, name, payload } of await variantsOf(em, experiment.id)) {
    // Checking a large payload takes long: other requests may run before each check.
    await nextTurn()
    try {
      check(payload)
    } catch (error) {
      throw invalid(
        `does not fit the payload of variant ${id} (${name}): ${(error as Error).message}`,
        input.payload_type === undefined ? 'payload_schema' : 'payload_type',
      )
    }
  }
}

type Schedule = Pick<Experiment, 'status' | 'scheduled_start_at' | 'scheduled_end_at'>
const UNSCHEDULED: Schedule = { status: 'draft', scheduled_start_at: null, scheduled_end_at: null }

/**
 * Checks the scheduled start and end.
 * @param before the experiment before the change; null if it is new
 * @throws DomainError BAD_REQUEST if a new time is past or the end is not after the start, CONFLICT if a time cannot be
 * changed any more
 */
export async function expectSchedule(em: EntityManager, before: Experiment | null, input: Given) {
  const { status, scheduled_start_at: oldStart, scheduled_end_at: oldEnd } = before ?? UNSCHEDULED
  const start = input.scheduled_start_at === undefined ? oldStart : input.scheduled_start_at
  const end = input.scheduled_end_at === undefined ? oldEnd : input.scheduled_end_at
  const newStart = !isDeepStrictEqual(start, oldStart)
  const newEnd = !isDeepStrictEqual(end, oldEnd)
  if (newStart && status !== 'draft')
    throw conflict(`Experiment ${before?.id} is ${status}: only a draft can have a new scheduled_start_at`)
  if (newEnd && status === 'completed')
    throw conflict(`Experiment ${before?.id} is completed: begin a new run before you set scheduled_end_at`)
  if (!newStart && !newEnd) return
  const now = await readClock(em)
  if (newStart && start && start <= now)
    throw invalid(`${start.toISOString()} is not in the future`, 'scheduled_start_at')
  if (newEnd && end && end <= now) throw invalid(`${end.toISOString()} is not in the future`, 'scheduled_end_at')
  if (status === 'draft' && start && end && end <= start)
    throw newEnd
      ? invalid('must be after scheduled_start_at', 'scheduled_end_at')
      : invalid('must be before scheduled_end_at', 'scheduled_start_at')
}

/**
 * Computes `auto_start`: whether the first check starts the draft. Scheduling a new start sets it to false, unless the
 * same call gives a value.
 */
export function autoStartOf(before: Experiment | null, input: Given): boolean {
  const { scheduled_start_at: start } = input
  const isNewlyScheduled = start != null && !isDeepStrictEqual(start, before?.scheduled_start_at)
  return input.auto_start ?? ((before?.auto_start ?? SETTINGS.auto_start.default) && !isNewlyScheduled)
}
