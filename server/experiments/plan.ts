import { DEFAULT_LOOKS } from '../statistics/group-sequential.ts'
import { DEFAULT_TUNING } from '../statistics/sequential.ts'
import type { Experiment, RunPlan } from './entity.ts'

/**
 * Makes the plan of the analysis for a run that starts now. The confidence sequence is narrowest at the planned number
 * of users, or at DEFAULT_TUNING.
 */
export function planOf(experiment: Experiment, primaryMetrics: RunPlan['primary_metrics']): RunPlan {
  const {
    analysis_method: method,
    mode,
    exposure,
    planned_users,
    planned_effect,
    planned_looks,
    crossovers,
  } = experiment
  return {
    method,
    mode,
    exposure,
    planned_users,
    planned_effect,
    planned_looks: looksOf(method, planned_looks),
    crossovers,
    tuning: planned_users ?? DEFAULT_TUNING,
    primary_metrics: primaryMetrics,
  }
}

/** Returns the number of planned looks of a method. @param planned the setting of the experiment; null: the default */
export const looksOf = (method: RunPlan['method'], planned: number | null): number =>
  method === 'group_sequential' ? (planned ?? DEFAULT_LOOKS) : method === 'bayesian' ? (planned ?? 1) : 1
