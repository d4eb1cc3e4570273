import { setImmediate as nextTurn } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { EntityManager } from '@mikro-orm/sql'
import { lockRules, readClock } from '../definitions/queries.ts'
import { compileRule } from '../definitions/rules.ts'
import { type CheckValue, valueCheck } from '../definitions/values.ts'
import { conflict, invalid } from '../errors.ts'
import { hasUnfinishedRun, variantsOf } from './changes.ts'
import type { Experiment } from './entity.ts'
import { expectHoldout, expectPrerequisites } from './prerequisites.ts'
import type { ExperimentKind, UpdateExperiment } from './schema.ts'
import { type GivenSettings, SETTING_NAMES, SETTINGS, type SettingName } from './settings-schema.ts'

/** Refuses settings that do not fit, with the path of the fault. */

type Given = GivenSettings & { percent_held?: number | undefined }

/**
 * Compiles the condition and locks what guards rules and chains of prerequisites; before any experiment is locked.
 * @returns the segments that the condition names
 */
export async function prepareRules(em: EntityManager, input: Given): Promise<number[]> {
  if (input.prerequisites?.length) await lockRules(em)
  return input.condition ? compileRule(em, input.condition, ['condition']) : []
}

/** Lists the experiments that the settings name; they are locked together with the one that names them. */
export const referredBy = ({ prerequisites, holdout_id }: Given): number[] => [
  ...(prerequisites ?? []).map((prerequisite) => prerequisite.experiment_id),
  ...(holdout_id ? [holdout_id] : []),
]

/** A holdout is kept plain: its users are compared with everybody else's, under every experiment that names it. */
export function expectKind(kind: ExperimentKind, input: Given) {
  if (kind !== 'holdout') {
    if (input.percent_held !== undefined) throw invalid('Only a holdout has a percent_held', 'percent_held')
    return
  }
  if (input.prerequisites?.length) throw invalid('A holdout has no prerequisites', 'prerequisites')
  if (input.holdout_id) throw invalid('A holdout has no holdout of its own', 'holdout_id')
  if (input.mode === 'aa') throw invalid('A holdout has no A/A mode', 'mode')
  if (input.on_ineligible === 'leave_out')
    throw invalid('A holdout keeps whom it holds: on_ineligible is keep', 'on_ineligible')
  if (input.exposure === 'on_report')
    throw invalid('A holdout is met at the first decision under it: exposure is on_check', 'exposure')
}

/** Checks that the experiments that are newly named exist and fit. */
export async function expectReferences(em: EntityManager, experiment: Experiment | null, input: Given) {
  if (input.prerequisites?.length && !isDeepStrictEqual(input.prerequisites, experiment?.prerequisites))
    await expectPrerequisites(em, experiment?.id ?? null, input.prerequisites)
  if (input.holdout_id && input.holdout_id !== experiment?.holdout_id) await expectHoldout(em, input.holdout_id)
}

type Fixed = NonNullable<(typeof SETTINGS)[SettingName]['fixed']>

/** @throws DomainError CONFLICT where a setting can be changed no more, or not now */
export function expectChangeable(experiment: Experiment, input: UpdateExperiment) {
  const { id, status } = experiment
  if (status === 'archived') throw conflict(`Experiment ${id} is archived and stays as it is`)
  if (input.key !== undefined && input.key !== experiment.key) expectUnlocked(experiment, 'key', 'since start')
  for (const name of SETTING_NAMES) {
    const { fixed } = SETTINGS[name]
    if (fixed && isChanged(experiment, input, name)) expectUnlocked(experiment, name, fixed)
  }
}

function expectUnlocked(experiment: Experiment, name: string, fixed: Fixed) {
  const { id, status } = experiment
  switch (fixed) {
    case 'since start':
      if (status !== 'draft') throw conflict(`The ${name} of experiment ${id} is fixed since it started`)
      return
    case 'during run':
      if (hasUnfinishedRun(experiment))
        throw conflict(`The ${name} of experiment ${id} is fixed while it is ${status}: complete it first`)
      return
    default:
      throw fixed satisfies never
  }
}

const isChanged = (experiment: Experiment, given: GivenSettings, name: SettingName) =>
  given[name] !== undefined && !isDeepStrictEqual(given[name], experiment[name])

/** Tells whether a setting changes by which users are targeted, or what becomes of those who no longer are. */
export const changesTargeting = (experiment: Experiment, given: GivenSettings): boolean =>
  SETTING_NAMES.some((name) => SETTINGS[name].targets && isChanged(experiment, given, name))

/**
 * Makes a check of payloads by the experiment's type and schema. A missing payload fits, and without both any payload
 * does.
 */
export function payloadCheck({ payload_type, payload_schema }: Experiment): CheckValue {
  if (payload_type === null && payload_schema === null) return () => {}
  const check = valueCheck(payload_type, payload_schema, 'payload_schema')
  return (payload, ...path) => {
    if (payload !== null) check(payload, ...path)
  }
}

/**
 * Checks the stored payloads where the call changes their type or schema.
 * @throws DomainError BAD_REQUEST naming the first variant whose payload does not fit
 */
export async function expectPayloads(em: EntityManager, experiment: Experiment, input: Given) {
  if (input.payload_type === undefined && input.payload_schema === undefined) return
  const check = payloadCheck(experiment)
  for (const { id, name, payload } of await variantsOf(em, experiment.id)) {
    // Checking a large payload takes long: other requests run between two of them.
    await nextTurn()
    try {
      check(payload)
    } catch (error) {
      throw invalid(
        `does not fit the payload of variant ${id} (${name}), which ${(error as Error).message}`,
        input.payload_type === undefined ? 'payload_schema' : 'payload_type',
      )
    }
  }
}

type Schedule = Pick<Experiment, 'status' | 'scheduled_start_at' | 'scheduled_end_at'>
const UNSCHEDULED: Schedule = { status: 'draft', scheduled_start_at: null, scheduled_end_at: null }

/**
 * Checks when an experiment is to start and to end.
 * @param before the experiment before the change; null where it is new
 * @throws DomainError where a new time is past, in the wrong order, or can be changed no more
 */
export async function expectSchedule(em: EntityManager, before: Experiment | null, input: Given) {
  const { status, scheduled_start_at: oldStart, scheduled_end_at: oldEnd } = before ?? UNSCHEDULED
  const start = input.scheduled_start_at === undefined ? oldStart : input.scheduled_start_at
  const end = input.scheduled_end_at === undefined ? oldEnd : input.scheduled_end_at
  const newStart = !isDeepStrictEqual(start, oldStart)
  const newEnd = !isDeepStrictEqual(end, oldEnd)
  if (newStart && status !== 'draft') throw conflict(`An experiment that is ${status} has no start to be scheduled`)
  if (newEnd && status === 'completed') throw conflict('An experiment that is completed has no end to be scheduled')
  if (!newStart && !newEnd) return
  const now = await readClock(em)
  if (newStart && start && start <= now) throw invalid('must be in the future', 'scheduled_start_at')
  if (newEnd && end && end <= now) throw invalid('must be in the future', 'scheduled_end_at')
  if (status === 'draft' && start && end && end <= start)
    throw invalid('must be after scheduled_start_at', newEnd ? 'scheduled_end_at' : 'scheduled_start_at')
}

/**
 * Decides whether the first check starts the draft. A check does not start a draft whose start is newly scheduled,
 * unless auto_start says so in the same call.
 */
export function autoStartOf(before: Experiment | null, input: Given): boolean {
  const { scheduled_start_at: start } = input
  const isNewlyScheduled = start != null && !isDeepStrictEqual(start, before?.scheduled_start_at)
  return input.auto_start ?? ((before?.auto_start ?? SETTINGS.auto_start.default) && !isNewlyScheduled)
}
