import { defineEntity, type InferEntity, p } from '@mikro-orm/core'
import { Segment } from '../segments/entity.ts'
import type { Json, ValueType } from '../wire.ts'
import type { ExperimentKind, Status } from './schema.ts'
import {
  type AnalysisMethod,
  type CrossoverRule,
  type ExperimentMode,
  type ExposureMode,
  type OnIneligible,
  type PauseReason,
  type Prerequisite,
  SETTINGS,
  type Settings,
} from './settings-schema.ts'

/** A layer. Its experiments share no user, because each has its own share of the positions of the layer. */
export const Layer = defineEntity({
  name: 'Layer',
  tableName: 'layers',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    name: p.text().unique(),
    key: p.text().unique(),
    description: p.text().strictNullable().default(null),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})
export type Layer = InferEntity<typeof Layer>

/** A range of positions in a layer, in percent: `from` is inclusive, `to` exclusive. */
export type Range = { from: number; to: number }

/** An experiment or a holdout. SETTINGS in `settings-schema.ts` explains the columns that are settings. */
export const Experiment = defineEntity({
  name: 'Experiment',
  tableName: 'experiments',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    name: p.text().unique(),
    key: p.text().unique(),
    description: p.text().strictNullable().default(null),
    hypothesis: p.text().strictNullable().default(null),
    owner: p.text().strictNullable().default(null),
    tags: p.array().defaultRaw(`'{}'`),
    status: p.text().$type<Status>().default('draft'),
    version: p.integer().default(1),
    kind: p.text().$type<ExperimentKind>().default('experiment'),
    mode: p.text().$type<ExperimentMode>().default(SETTINGS.mode.default),
    auto_start: p.boolean().default(SETTINGS.auto_start.default),
    exposure: p.text().$type<ExposureMode>().default(SETTINGS.exposure.default),
    traffic_percent: p.float().columnType('double precision').default(SETTINGS.traffic_percent.default),
    condition: p.json().columnType('jsonb').$type<Record<string, Json>>().strictNullable(),
    /** The edition of the condition language in which the condition was written. */
    condition_edition: p.integer().default(2),
    /** The ids of the segments that the condition names. */
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
    /** Names of attributes that results can be broken down by, besides those of `COMMON_DIMENSIONS`. */
    dimensions: p.array().defaultRaw(`'{}'`),
    /** The plan of the analysis. A run copies the plan when it starts. */
    analysis_method: p.text().$type<AnalysisMethod>().default(SETTINGS.analysis_method.default),
    planned_users: p.integer().strictNullable().default(null),
    planned_effect: p.float().columnType('double precision').strictNullable().default(null),
    planned_looks: p.smallint().strictNullable().default(null),
    /** The rule for users who met two variants: results leave them out, or count them under the first. */
    crossovers: p.text().$type<CrossoverRule>().default(SETTINGS.crossovers.default),
    /** The alerts that pause the experiment. */
    pause_on: p.array().$type<PauseReason[]>().defaultRaw(`'{}'`),
    /** Users with more events than this on one day are left out of the results; null: nobody is. */
    max_daily_events: p.integer().strictNullable().default(null),
    scheduled_start_at: p.datetime().columnType('timestamptz').strictNullable().default(null),
    scheduled_end_at: p.datetime().columnType('timestamptz').strictNullable().default(null),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
    started_at: p.datetime().columnType('timestamptz').strictNullable().default(null),
    ended_at: p.datetime().columnType('timestamptz').strictNullable().default(null),
  },
})
export type Experiment = InferEntity<typeof Experiment>

/** The columns of experiments that are not settings. */
type OtherColumn =
  | 'id'
  | 'name'
  | 'key'
  | 'status'
  | 'version'
  | 'kind'
  | 'condition_edition'
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
/** This line compiles only if each setting has a column of its type, and each other column is listed above. */
true satisfies Same<SettingColumns, Settings>

/** A variant of an experiment, with its share of the traffic. */
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
    /** True for the control that was created with the experiment, until somebody edits it. */
    is_placeholder: p.boolean().default(false),
    payload: p.json().columnType('jsonb').$type<Json>().strictNullable(),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
  uniques: [{ properties: ['experiment_id', 'name'] }],
})
export type Variant = InferEntity<typeof Variant>

/** A link from an experiment to a segment that it targets. */
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

/** One randomisation of an experiment. All recorded data of the experiment belongs to one of its runs. */
export const Run = defineEntity({
  name: 'Run',
  tableName: 'runs',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    experiment_id: () => p.manyToOne(Experiment).mapToPk().fieldName('experiment_id').deleteRule('cascade'),
    number: p.integer(),
    /**
     * The origin of the run: a person, a check or an event. If an event started the run, an earlier event that arrives
     * later moves `started_at` back.
     */
    started_by: p.text().$type<'hand' | 'check' | 'event'>().default('hand'),
    started_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
    ended_at: p.datetime().columnType('timestamptz').strictNullable().default(null),
    frozen_at: p.datetime().columnType('timestamptz').strictNullable().default(null),
    /** The plan of the analysis, fixed when the run started; null in runs that started before plans existed. */
    plan: p.json().columnType('jsonb').$type<RunPlan>().strictNullable(),
  },
  uniques: [{ properties: ['experiment_id', 'number'] }],
})
export type Run = InferEntity<typeof Run>

/** The plan of the analysis of a run. `planned_effect` is a relative uplift: 0.05 is 5 %. */
export type RunPlan = {
  method: AnalysisMethod
  /** Absent in plans that older versions stored. */
  mode?: ExperimentMode
  exposure: ExposureMode
  planned_users: number | null
  planned_effect: number | null
  /** The number of planned looks; absent in plans that older versions stored. */
  planned_looks?: number
  /** Absent in runs that were frozen before crossovers could be counted: such runs exclude them. */
  crossovers?: CrossoverRule
  /** N*: the number of users at which the confidence sequence is narrowest. */
  tuning: number
  /** The primary metrics, in order. The decision rests on them. */
  primary_metrics: { key: string; version: number }[]
}

/** The share of a variant in an allocation period. A disabled variant keeps its positions and enrols nobody. */
export type Share = { variant_id: number; percent_allocated: number; enabled: boolean }

/** The shares in force from a time on. A change of the targeting or the effective shares opens the next period. */
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

/** A run of a deleted experiment whose recorded rows are still to be deleted. */
export const DeletedRun = defineEntity({
  name: 'DeletedRun',
  tableName: 'deleted_runs',
  properties: {
    run_id: p.integer().primary().autoincrement(false),
    deleted_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})
