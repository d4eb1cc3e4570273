import { setImmediate as nextTurn } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { EntityManager } from '@mikro-orm/sql'
import { lockRules, readClock } from '../definitions/queries.ts'
import { compileRule } from '../definitions/rules.ts'
import { type CheckValue, valueCheck } from '../definitions/values.ts'
import { conflict, invalid } from '../errors.ts'
import type { Experiment } from './entity.ts'
import { hasUnfinishedRun, variantsOf } from './life-cycle.ts'
import { expectHoldout, expectPrerequisites } from './prerequisites.ts'
import type { CreateExperiment, ExperimentKind, UpdateExperiment } from './schema.ts'

/** Which settings are refused, with the path of the fault, and what follows from the others. */

type Settings = CreateExperiment | UpdateExperiment

/**
 * Compiles the condition and locks what guards rules and chains of prerequisites; before any experiment is locked.
 * @returns the segments that the condition names
 */
export async function prepareRules(em: EntityManager, input: Settings): Promise<number[]> {
  if (input.prerequisites?.length) await lockRules(em)
  return input.condition ? compileRule(em, input.condition, ['condition']) : []
}

/** The experiments that the settings name; to be locked with the one that names them. */
export const referredBy = ({ prerequisites, holdout_id }: Settings): number[] => [
  ...(prerequisites ?? []).map((prerequisite) => prerequisite.experiment_id),
  ...(holdout_id ? [holdout_id] : []),
]

/** A holdout is kept plain: its users are compared with everybody else's, under every experiment that names it. */
export function expectKind(kind: ExperimentKind, input: Settings) {
  if (kind !== 'holdout') {
    if (input.percent_held != null) throw invalid('Only a holdout has a percent_held', 'percent_held')
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

/** What is named exists and fits; only what is new is looked at. */
export async function expectReferences(em: EntityManager, experiment: Experiment | null, input: Settings) {
  if (input.prerequisites?.length && !isDeepStrictEqual(input.prerequisites, experiment?.prerequisites))
    await expectPrerequisites(em, experiment?.id ?? null, input.prerequisites)
  if (input.holdout_id && input.holdout_id !== experiment?.holdout_id) await expectHoldout(em, input.holdout_id)
}

/** What a run is analysed by. */
const FIXED_DURING_RUN = ['analysis_method', 'planned_users', 'planned_effect', 'max_daily_events'] as const
const FIXED_SINCE_START = ['key', 'exposure'] as const

/** @throws DomainError CONFLICT where a setting can be changed no more, or not now */
export function expectChangeable(experiment: Experiment, input: UpdateExperiment) {
  const { id, status } = experiment
  if (status === 'archived') throw conflict(`Experiment ${id} is archived and stays as it is`)
  for (const field of FIXED_SINCE_START)
    if (status !== 'draft' && input[field] != null && input[field] !== experiment[field])
      throw conflict(`The ${field} of experiment ${id} is fixed since it started`)
  for (const field of FIXED_DURING_RUN) {
    const wanted = field === 'analysis_method' ? (input[field] ?? undefined) : input[field]
    if (hasUnfinishedRun(experiment) && wanted !== undefined && wanted !== experiment[field])
      throw conflict(`The ${field} of experiment ${id} is fixed while it is ${status}: complete it first`)
  }
  const mixesUsers =
    (input.mode != null && input.mode !== experiment.mode && 'mode') ||
    (input.holdout_id !== undefined && input.holdout_id !== experiment.holdout_id && 'holdout_id')
  if (mixesUsers && hasUnfinishedRun(experiment))
    throw conflict(`The ${mixesUsers} of experiment ${id} is fixed while it is ${status}: complete it first`)
}

/** Whether who is targeted, and what becomes of those who no longer are, really changes. */
export const changesTargeting = (experiment: Experiment, input: UpdateExperiment): boolean =>
  (input.condition !== undefined && !isDeepStrictEqual(input.condition, experiment.condition)) ||
  (input.prerequisites != null && !isDeepStrictEqual(input.prerequisites, experiment.prerequisites)) ||
  (input.on_ineligible != null && input.on_ineligible !== experiment.on_ineligible)

/** Checks payloads of the experiment's variants; one that is missing fits, and where nothing is said of them anything does. */
export function payloadCheck({ payload_type, payload_schema }: Experiment): CheckValue {
  if (payload_type === null && payload_schema === null) return () => {}
  const check = valueCheck(payload_type, payload_schema, 'payload_schema')
  return (payload, ...path) => {
    if (payload !== null) check(payload, ...path)
  }
}

/** @throws DomainError naming the first variant whose payload does not fit, where what payloads must be is given anew */
export async function expectPayloads(em: EntityManager, experiment: Experiment, input: Settings) {
  if (input.payload_type === undefined && input.payload_schema === undefined) return
  const check = payloadCheck(experiment)
  for (const { id, name, payload } of await variantsOf(em, experiment.id)) {
    // Between large payloads others have their turn.
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
 * When the experiment is to start and to end, with the input's changes.
 * @throws DomainError where that is past, in the wrong order, or no longer to be changed
 */
export async function scheduleOf(em: EntityManager, experiment: Experiment | null, input: Settings) {
  const { status, scheduled_start_at: oldStart, scheduled_end_at: oldEnd } = experiment ?? UNSCHEDULED
  const start = input.scheduled_start_at === undefined ? oldStart : input.scheduled_start_at
  const end = input.scheduled_end_at === undefined ? oldEnd : input.scheduled_end_at
  const newStart = start?.getTime() !== oldStart?.getTime()
  const newEnd = end?.getTime() !== oldEnd?.getTime()
  if (newStart && status !== 'draft') throw conflict(`An experiment that is ${status} has no start to be scheduled`)
  if (newEnd && status === 'completed') throw conflict('An experiment that is completed has no end to be scheduled')
  if (newStart || newEnd) {
    const now = await readClock(em)
    if (newStart && start && start <= now) throw invalid('must be in the future', 'scheduled_start_at')
    if (newEnd && end && end <= now) throw invalid('must be in the future', 'scheduled_end_at')
    if (status === 'draft' && start && end && end <= start)
      throw invalid('must be after scheduled_start_at', newEnd ? 'scheduled_end_at' : 'scheduled_start_at')
  }
  return { scheduled_start_at: start, scheduled_end_at: end, startsAtTime: newStart && start !== null }
}
