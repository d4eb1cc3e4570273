import type { Rules } from '../evaluation/condition.ts'
import type { FlagType } from '../evaluation/flag.ts'
import type { Range } from '../evaluation/layer.ts'

/** An experiment as stored: all that deciding it needs, of one moment. Times in milliseconds since 1970, UTC. */
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
  on_ineligible: 'keep' | 'leave_out'
  prerequisites: { experiment_id: number; variant_ids: number[] }[]
  holdout_id: number | null
  layer_id: number | null
  layer_ranges: Range[]
  /** The type of all payloads; null: any JSON. */
  payload_type: FlagType | null
  shipped_variant_id: number | null
  /** Attributes that results can be broken down by; versions of long ago say nothing of them. */
  dimensions?: string[]
  scheduled_start_at: number | null
  scheduled_end_at: number | null
  /** The current run; and, where an event started the first, that one's start, which an earlier event moves back. */
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
export type StoredSegment = { id: number; name: string; rules: Rules | null }

export type Definitions = {
  version: number
  /** When they last changed, in milliseconds since 1970. */
  changed_at: number
  flags: StoredFlag[]
  experiments: StoredExperiment[]
  segments: StoredSegment[]
  /** Forced variants, also of the ids that are aliases of the user. */
  overrides: { experiment_id: number; user_id: string; variant_id: number }[]
}

/** A rule of a flag as stored; of `value`, `rollout` and `experiment` one is there. Times in ISO 8601. */
export type StoredFlagRule = {
  id: string
  condition: Rules | null
  segment_ids: number[]
  from: string | null
  until: string | null
  value?: unknown
  rollout?: { percent: number; value: unknown }[]
  experiment?: { experiment_id: number; values: { variant_id: number; value: unknown }[] }
}

/** A flag as stored: all that evaluating it needs. */
export type StoredFlag = {
  key: string
  version: number
  type: FlagType
  enabled: boolean
  default_value: unknown
  rules: StoredFlagRule[]
}
