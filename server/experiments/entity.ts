import { defineEntity, type InferEntity, p } from '@mikro-orm/core'
import { Segment } from '../segments/entity.ts'
import type { Json, ValueType } from '../wire.ts'
import type { ExperimentKind, Status } from './schema.ts'
import {
  type AnalysisMethod,
  type ExperimentMode,
  type ExposureMode,
  type OnIneligible,
  type PauseReason,
  type Prerequisite,
  SETTINGS,
  type Settings,
} from './settings-schema.ts'

/** Experiments of one layer share no user: each takes a share of its positions. */
export const Layer = defineEntity({
  name: 'Layer',
  tableName: 'layers',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    name: p.text().unique(),
    description: p.text().strictNullable().default(null),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})
export type Layer = InferEntity<typeof Layer>

/** Positions of a layer, in per cent, half-open. */
export type Range = { from: number; to: number }

export const Experiment = defineEntity({
  name: 'Experiment',
  tableName: 'experiments',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    name: p.text().unique(),
    key: p.text().unique(),
    description: p.text().strictNullable().default(null),
    hypothesis: p.text().strictNullable().default(null),
    status: p.text().$type<Status>().default('draft'),
    version: p.integer().default(1),
    kind: p.text().$type<ExperimentKind>().default('experiment'),
    mode: p.text().$type<ExperimentMode>().default(SETTINGS.mode.default),
    auto_start: p.boolean().default(SETTINGS.auto_start.default),
    exposure: p.text().$type<ExposureMode>().default(SETTINGS.exposure.default),
    traffic_percent: p.float().columnType('double precision').default(SETTINGS.traffic_percent.default),
    condition: p.json().columnType('jsonb').$type<Record<string, Json>>().strictNullable(),
    /** The segments that the condition names. */
    condition_segment_ids: p
      .array((id) => Number(id))
      .columnType('int[]')
      .defaultRaw(`'{}'`),
    on_ineligible: p.text().$type<OnIneligible>().default(SETTINGS.on_ineligible.default),
    prerequisites: p.json().columnType('jsonb').$type<Prerequisite[]>().defaultRaw(`'[]'`),
    holdout_id: () =>
      p
        .manyToOne(Experiment)
        .mapToPk()
        .fieldName('holdout_id')
        .strictNullable()
        .default(null)
        .updateRule('no action')
        .deleteRule('no action')
        .index(),
    layer_id: () =>
      p
        .manyToOne(Layer)
        .mapToPk()
        .fieldName('layer_id')
        .strictNullable()
        .default(null)
        .updateRule('no action')
        .deleteRule('no action')
        .index(),
    layer_ranges: p.json().columnType('jsonb').$type<Range[]>().defaultRaw(`'[]'`),
    payload_type: p.text().$type<ValueType>().strictNullable().default(null),
    payload_schema: p.json().columnType('jsonb').$type<Record<string, Json>>().strictNullable(),
    shipped_variant_id: p.integer().strictNullable().default(null),
    /** Attributes that results can be broken down by, beside country_code and is_premium. */
    dimensions: p.array().defaultRaw(`'{}'`),
    /** How the analysis is planned: locked for the run at its start. */
    analysis_method: p.text().$type<AnalysisMethod>().default(SETTINGS.analysis_method.default),
    planned_users: p.integer().strictNullable().default(null),
    planned_effect: p.float().columnType('double precision').strictNullable().default(null),
    /** Which alerts pause the experiment. */
    pause_on: p.array().$type<PauseReason[]>().defaultRaw(`'{}'`),
    /** A user with more events on a day is left out of the results. */
    max_daily_events: p.integer().strictNullable().default(null),
    scheduled_start_at: p.datetime().columnType('timestamptz').strictNullable().default(null),
    scheduled_end_at: p.datetime().columnType('timestamptz').strictNullable().default(null),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
    started_at: p.datetime().columnType('timestamptz').strictNullable().default(null),
    ended_at: p.datetime().columnType('timestamptz').strictNullable().default(null),
  },
})
export type Experiment = InferEntity<typeof Experiment>

/** The columns of experiments that are no settings. */
type OtherColumn =
  | 'id'
  | 'name'
  | 'key'
  | 'status'
  | 'version'
  | 'kind'
  | 'condition_segment_ids'
  | 'layer_id'
  | 'layer_ranges'
  | 'shipped_variant_id'
  | 'created_at'
  | 'started_at'
  | 'ended_at'
type SettingColumns = Omit<Experiment, OtherColumn | symbol>
type Same<One, Other> = [One, Other] extends [Other, One]
  ? true
  : { differ: [Exclude<keyof One, keyof Other>, Exclude<keyof Other, keyof One>] }
/**
 * Does not compile where a setting has no column of its type, or where a column is neither a setting nor listed above.
 */
true satisfies Same<SettingColumns, Settings>

export const Variant = defineEntity({
  name: 'Variant',
  tableName: 'variants',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    experiment_id: () => p.manyToOne(Experiment).mapToPk().fieldName('experiment_id').deleteRule('cascade'),
    name: p.text(),
    percent_allocated: p.float().columnType('double precision'),
    enabled: p.boolean().default(true),
    is_control: p.boolean().default(false),
    /** The control that came with the experiment and that nobody has touched yet. */
    is_placeholder: p.boolean().default(false),
    payload: p.json().columnType('jsonb').$type<Json>().strictNullable(),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
  uniques: [{ properties: ['experiment_id', 'name'] }],
})
export type Variant = InferEntity<typeof Variant>

export const ExperimentSegment = defineEntity({
  name: 'ExperimentSegment',
  tableName: 'experiment_segments',
  properties: {
    experiment_id: () =>
      p
        .manyToOne(Experiment)
        .primary()
        .mapToPk()
        .fieldName('experiment_id')
        .updateRule('no action')
        .deleteRule('cascade'),
    segment_id: () =>
      p
        .manyToOne(Segment)
        .primary()
        .mapToPk()
        .fieldName('segment_id')
        .updateRule('no action')
        .deleteRule('no action')
        .index(),
  },
})

/** One randomisation; everything recorded belongs to a run. */
export const Run = defineEntity({
  name: 'Run',
  tableName: 'runs',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    experiment_id: () => p.manyToOne(Experiment).mapToPk().fieldName('experiment_id').deleteRule('cascade'),
    number: p.integer(),
    /** One that an event started may begin earlier still, when an earlier event arrives. */
    started_by: p.text().$type<'hand' | 'check' | 'event'>().default('hand'),
    started_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
    ended_at: p.datetime().columnType('timestamptz').strictNullable().default(null),
    frozen_at: p.datetime().columnType('timestamptz').strictNullable().default(null),
    /** The plan of the analysis, fixed when the run started; null in runs that are older than plans. */
    plan: p.json().columnType('jsonb').$type<RunPlan>().strictNullable(),
  },
  uniques: [{ properties: ['experiment_id', 'number'] }],
})
export type Run = InferEntity<typeof Run>

export type RunPlan = {
  method: AnalysisMethod
  exposure: ExposureMode
  planned_users: number | null
  planned_effect: number | null
  /** N*: at how many users the confidence sequence is tightest. */
  tuning: number
  /** The metrics that decide. */
  primary_metrics: { key: string; version: number }[]
}

/** A variant's part of an allocation period; a disabled one keeps its range and enrols nobody. */
export type Share = { variant_id: number; percent_allocated: number; enabled: boolean }

/** The effective shares in force from a time on; a change of them opens the next period. */
export const AllocationPeriod = defineEntity({
  name: 'AllocationPeriod',
  tableName: 'allocation_periods',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    run_id: () => p.manyToOne(Run).mapToPk().fieldName('run_id').deleteRule('cascade'),
    number: p.integer(),
    from: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
    shares: p.json().columnType('jsonb').$type<Share[]>(),
  },
  uniques: [{ properties: ['run_id', 'number'] }],
})
export type AllocationPeriod = InferEntity<typeof AllocationPeriod>
