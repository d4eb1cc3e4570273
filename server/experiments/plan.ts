import { DEFAULT_TUNING } from '../statistics/sequential.ts'
import type { Experiment, RunPlan } from './entity.ts'

/** What the analysis of a run that starts now is planned with. The sequence is tightest where the planned users are. */
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
