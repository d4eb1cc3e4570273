import { z } from 'zod'
import {
  clearable,
  condition,
  distinct,
  id,
  instant,
  jsonObject,
  label,
  optional,
  percent,
  storedObject,
  text,
  timestamp,
  valueType,
} from '../wire.ts'

/**
 * The settings of experiments, in one table. Creating, updating, locking, the wire and the default of the column are
 * read from it: a new plain setting is a row here, a column in `entity.ts` and a migration.
 */

export const exposureMode = z.enum(['on_check', 'on_report']).meta({
  description: 'Whether a check exposes the user, or an event that reports what was shown',
})
export type ExposureMode = z.output<typeof exposureMode>

export const analysisMethod = z.enum(['sequential', 'fixed', 'bayesian']).meta({
  description:
    'sequential: valid however often one looks; fixed: once, at the planned size; bayesian: by the probability to be better, which does not protect against looking',
})
export type AnalysisMethod = z.output<typeof analysisMethod>

export const pauseReason = z.enum(['mismatch', 'harm'])
export type PauseReason = z.output<typeof pauseReason>

export const experimentMode = z.enum(['ab', 'aa']).meta({
  description:
    'aa: everybody is shown the control (its name and payload), and only the variant_id tells the variants apart: what the results show then is noise, or a fault of the set-up',
})
export type ExperimentMode = z.output<typeof experimentMode>

export const onIneligible = z.enum(['keep', 'leave_out']).meta({
  description:
    'An assigned user who stops matching: keep the variant, or leave out until they match again (same variant, still in the analysis)',
})
export type OnIneligible = z.output<typeof onIneligible>

export const prerequisite = z.object({ experiment_id: id, variant_ids: z.array(id).min(1).max(100) }).meta({
  id: 'Prerequisite',
  description: 'Only users who are assigned to one of these variants of the other experiment',
})
export type Prerequisite = z.output<typeof prerequisite>

type Setting<Input extends z.ZodType, Output extends z.ZodType> = {
  /** The schema of the input: `optional`, or `clearable` where null is a value. */
  input: Input
  /** The schema of the answer. */
  output: Output
  /** The value of a new experiment where nothing is given. */
  default: z.output<Output>
  /** When the setting cannot be changed: from the first start on, or while a run is unfinished. Never unless given. */
  fixed?: 'since start' | 'during run'
  /** A change of the setting changes who is targeted: an unfinished run goes on in a new allocation period. */
  targets?: true
}
/** Checks the types of one row of the table. */
const setting = <Input extends z.ZodType, Output extends z.ZodType>(row: Setting<Input, Output>) => row

export const SETTINGS = {
  description: setting({ input: clearable(text), output: z.string().nullable(), default: null }),
  hypothesis: setting({ input: clearable(text), output: z.string().nullable(), default: null }),
  auto_start: setting({
    input: optional(z.boolean()).meta({
      description: 'Whether the first check that names it starts it; true unless given or a start is scheduled',
    }),
    output: z.boolean(),
    default: true,
  }),
  exposure: setting({
    input: optional(exposureMode),
    output: exposureMode,
    default: 'on_check',
    fixed: 'since start',
  }),
  traffic_percent: setting({
    input: optional(percent).meta({ description: 'Share of the eligible users that take part; 100 by default' }),
    output: z.number(),
    default: 100,
  }),
  condition: setting({
    input: clearable(condition).meta({
      description: 'Who may take part, besides the segments (see docs/conditions.md); null: everybody',
    }),
    output: storedObject.nullable(),
    default: null,
    targets: true,
  }),
  on_ineligible: setting({ input: optional(onIneligible), output: onIneligible, default: 'keep', targets: true }),
  prerequisites: setting({
    input: optional(z.array(prerequisite).max(20)).meta({ description: 'All of them must be met' }),
    output: z.array(prerequisite),
    default: [],
    targets: true,
  }),
  holdout_id: setting({
    input: clearable(id).meta({
      description: 'The holdout whose held users are kept out of this experiment; null: none',
    }),
    output: id.nullable(),
    default: null,
    fixed: 'during run',
  }),
  mode: setting({ input: optional(experimentMode), output: experimentMode, default: 'ab', fixed: 'during run' }),
  payload_type: setting({
    input: clearable(valueType).meta({
      description:
        'The type of every payload, for applications that read the experiment as a flag; null: any JSON value',
    }),
    output: valueType.nullable(),
    default: null,
  }),
  dimensions: setting({
    input: optional(distinct(z.array(label(100)).max(10))).meta({
      description:
        'Attributes that results can be broken down by, beside country_code and is_premium: as they are at the decision, from now on',
      examples: [['plan']],
    }),
    output: z.array(z.string()),
    default: [],
  }),
  analysis_method: setting({
    input: optional(analysisMethod),
    output: analysisMethod,
    default: 'sequential',
    fixed: 'during run',
  }),
  planned_users: setting({
    input: clearable(z.int().min(2).max(1_000_000_000)).meta({
      description: 'Users of all variants together that the analysis is planned for; locked while a run is unfinished',
    }),
    output: z.int().nullable(),
    default: null,
    fixed: 'during run',
  }),
  planned_effect: setting({
    input: clearable(z.number().gt(0).max(10)).meta({
      description: 'The relative uplift of the primary metric that it is planned to find; locked likewise',
      examples: [0.05],
    }),
    output: z.number().nullable(),
    default: null,
    fixed: 'during run',
  }),
  pause_on: setting({
    input: optional(distinct(z.array(pauseReason).max(2))).meta({
      description:
        'Pause the experiment by itself where its users are mismatched, or where it does harm; [] by default',
    }),
    output: z.array(pauseReason),
    default: [],
  }),
  max_daily_events: setting({
    input: clearable(z.int().min(1).max(1_000_000)).meta({
      description:
        'Whoever has more events than this on a day is left out of the results, whatever the variant; null: nobody',
    }),
    output: z.int().nullable(),
    default: null,
    fixed: 'during run',
  }),
  payload_schema: setting({
    input: clearable(jsonObject).meta({
      description: 'A JSON Schema (2020-12) that payloads are checked against; null: none',
    }),
    output: storedObject.nullable(),
    default: null,
  }),
  scheduled_start_at: setting({
    input: clearable(instant).meta({
      description:
        'When the platform starts the draft by itself, which then no check does unless auto_start says so; null: not by time',
    }),
    output: timestamp.nullable(),
    default: null,
  }),
  scheduled_end_at: setting({
    input: clearable(instant).meta({ description: 'When the platform completes it by itself; null: not by time' }),
    output: timestamp.nullable(),
    default: null,
  }),
}
type Table = typeof SETTINGS
export type SettingName = keyof Table
export const SETTING_NAMES = Object.keys(SETTINGS) as SettingName[]

/** The settings of one experiment, as they are stored. */
export type Settings = { [Name in SettingName]: Table[Name]['default'] }
/** The settings that a caller gives. */
export type GivenSettings = { [Name in SettingName]?: z.output<Table[Name]['input']> }

/** Takes one part of every row, by the name of the setting. */
const column = <Part extends 'input' | 'output'>(part: Part) =>
  Object.fromEntries(SETTING_NAMES.map((name) => [name, SETTINGS[name][part]])) as {
    [Name in SettingName]: Table[Name][Part]
  }
export const settingInputs = column('input')
export const settingOutputs = column('output')

/** Makes the settings of a new experiment: what is given, otherwise the defaults. */
export const settingsOf = (given: GivenSettings) =>
  Object.fromEntries(
    SETTING_NAMES.map((name) => [name, given[name] ?? structuredClone(SETTINGS[name].default)]),
  ) as Settings
