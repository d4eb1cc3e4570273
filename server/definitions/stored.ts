import type { Edition, Rules } from '../evaluation/condition.ts'
import type { FlagType } from '../evaluation/flag.ts'
import type { Range } from '../evaluation/layer.ts'

/** An experiment as stored: all that decisions need, of one moment. Times are milliseconds since 1970, UTC. */
export type StoredExperiment = {
  id: number
  key: string
  version: number
  kind: 'experiment' | 'holdout'
  mode: 'ab' | 'aa'
  status: 'draft' | 'running' | 'paused' | 'completed' | 'archived'
  auto_start: boolean
  exposure: 'on_check' | 'on_report'
  traffic_percent: number
  condition: Rules | null
  /** The edition in which the condition was written; 1 where the history lacks this field. */
  condition_edition?: Edition
  on_ineligible: 'keep' | 'leave_out'
  prerequisites: { experiment_id: number; variant_ids: number[] }[]
  holdout_id: number | null
  layer_id: number | null
  layer_ranges: Range[]
  /** The type of every payload; null: any JSON value. */
  payload_type: FlagType | null
  shipped_variant_id: number | null
  /** Names of attributes that results can be broken down by; old versions in the history lack this field. */
  dimensions?: string[]
  scheduled_start_at: number | null
  scheduled_end_at: number | null
  /**
   * The latest run. `movable_start` is the start of the first run if an event started that run and its results are not
   * frozen: an earlier event moves the start back. Otherwise it is null.
   */
  run: { id: number; number: number; period: number; movable_start: number | null } | null
  variants: {
    id: number
    name: string
    percent_allocated: number
    enabled: boolean
    is_control: boolean
    payload: unknown
  }[]
  segment_ids: number[]
}
/** A segment as stored. */
export type StoredSegment = { id: number; name: string; rules: Rules | null; rules_edition?: Edition }

/** All definitions of one version, as stored. */
export type Definitions = {
  version: number
  /** When the definitions last changed, in milliseconds since 1970. */
  changed_at: number
  flags: StoredFlag[]
  experiments: StoredExperiment[]
  segments: StoredSegment[]
  /** The overrides in force. An override of a user is repeated for each alias that has none of its own. */
  overrides: { experiment_id: number; user_id: string; variant_id: number }[]
}

/** A rule of a flag as stored, with exactly one of `value`, `rollout` and `experiment`. Times are in ISO 8601. */
export type StoredFlagRule = {
  id: string
  condition: Rules | null
  /** The edition in which the condition was written; 1 in rules of former versions. */
  edition?: Edition
  segment_ids: number[]
  from: string | null
  until: string | null
  value?: unknown
  rollout?: { percent: number; value: unknown }[]
  experiment?: { experiment_id: number; values: { variant_id: number; value: unknown }[] }
}

/** A flag as stored: all that evaluation needs. */
export type StoredFlag = {
  key: string
  version: number
  type: FlagType
  enabled: boolean
  default_value: unknown
  rules: StoredFlagRule[]
}
