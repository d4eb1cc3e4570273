import { DEFAULT_TUNING } from '../statistics/sequential.ts'
import type { Experiment, RunPlan } from './entity.ts'

/**
 * Makes the plan of the analysis for a run that starts now. The confidence sequence is narrowest at the planned number
 * of users, or at DEFAULT_TUNING.
 */
export function planOf(experiment: Experiment, primaryMetrics: RunPlan['primary_metrics']): RunPlan {
  const { analysis_method: method, exposure, planned_users, planned_effect } = experiment
  return {
    method,
    exposure,
    planned_users,
    planned_effect,
    tuning: planned_users ?? DEFAULT_TUNING,
    primary_metrics: primaryMetrics,
  }
}
