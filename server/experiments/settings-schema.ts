import { z } from 'zod'
import { experimentRef } from '../definitions/reference-schema.ts'
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
  tag,
  text,
  timestamp,
  valueType,
  type WithoutNull,
  withoutNull,
} from '../wire.ts'

/**
 * The table of all settings of experiments. Creation, updates, locks, the contract and the defaults of columns are read
 * from this table. A new plain setting is a row here, a column in `entity.ts` and a migration.
 */

export const exposureMode = z.enum(['on_check', 'on_report']).meta({
  description: 'on_check: a check exposes the user. on_report: an event that reports what was shown exposes the user',
})
export type ExposureMode = z.output<typeof exposureMode>

export const analysisMethod = z.enum(['sequential', 'group_sequential', 'fixed', 'bayesian']).meta({
  description:
    'sequential: valid however often results are read. group_sequential: valid at a few planned looks, with nearly ' +
    'the power of fixed. fixed: valid once, at the planned number of users. ' +
    'bayesian: by the probability to be better, which gives no protection against reading results repeatedly',
})
export type AnalysisMethod = z.output<typeof analysisMethod>

export const crossoverRule = z.enum(['exclude', 'first']).meta({
  description:
    'For users who met two variants, such as people who are known by two ids. exclude: results leave them out. ' +
    'first: results count them under the variant that they were first assigned',
})
export type CrossoverRule = z.output<typeof crossoverRule>

export const pauseReason = z.enum(['mismatch', 'harm'])
export type PauseReason = z.output<typeof pauseReason>

export const experimentMode = z.enum(['ab', 'aa']).meta({
  description:
    'aa: everybody is shown the control (its name and payload), and only the variant_id tells the variants ' +
    'apart. Any difference in the results is then noise, or a fault of the set-up',
})
export type ExperimentMode = z.output<typeof experimentMode>

export const onIneligible = z.enum(['keep', 'leave_out']).meta({
  description:
    'For an assigned user who stops matching. keep: the user keeps the variant. leave_out: the user gets no ' +
    'variant until they match again, then the same one; they stay in the analysis',
})
export type OnIneligible = z.output<typeof onIneligible>

export const prerequisite = z.strictObject({ experiment_id: id, variant_ids: z.array(id).min(1).max(100) }).meta({
  id: 'Prerequisite',
  description: 'Only users who are assigned to one of these variants of the other experiment take part',
})
export type Prerequisite = z.output<typeof prerequisite>
const givenPrerequisite = prerequisite.extend({ experiment_id: experimentRef }).meta({ id: 'GivenPrerequisite' })

type Setting<Input extends z.ZodType, Output extends z.ZodType> = {
  /** The schema of the input: `optional`, or `clearable` if null is a value. */
  input: Input
  /** The schema of the output. */
  output: Output
  /** The value in a new experiment unless the caller gives one. */
  default: z.output<Output>
  /** When the setting is fixed: after the first start, or while a run is unfinished. Absent: it is never fixed. */
  fixed?: 'since start' | 'during run'
  /** True if the setting affects who is targeted: changing it opens a new allocation period in an unfinished run. */
  targets?: true
}
/** Checks the types of one row of the table. */
const setting = <Input extends z.ZodType, Output extends z.ZodType>(row: Setting<Input, Output>) => row

export const SETTINGS = {
  description: setting({ input: clearable(text), output: z.string().nullable(), default: null }),
  hypothesis: setting({ input: clearable(text), output: z.string().nullable(), default: null }),
  owner: setting({
    input: clearable(label()).meta({ description: 'Who answers for the experiment', examples: ['checkout team'] }),
    output: z.string().nullable(),
    default: null,
  }),
  tags: setting({
    input: optional(distinct(z.array(tag).max(100))).meta({ description: 'Words by which lists are filtered' }),
    output: z.array(z.string()),
    default: [],
  }),
  auto_start: setting({
    input: optional(z.boolean()).meta({
      description:
        'true: the first check of the draft, or event that names a variant, starts it. By default true, or false if a start ' +
        'is scheduled',
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
    input: optional(percent).meta({ description: 'Percentage of the eligible users who take part; 100 by default' }),
    output: z.number(),
    default: 100,
  }),
  condition: setting({
    input: clearable(condition).meta({
      description:
        'Condition that users must meet, in addition to the segments (see docs/conditions.md); null: everybody',
    }),
    output: storedObject.nullable(),
    default: null,
    targets: true,
  }),
  on_ineligible: setting({ input: optional(onIneligible), output: onIneligible, default: 'keep', targets: true }),
  prerequisites: setting({
    input: optional(z.array(givenPrerequisite).max(20)).meta({
      description: 'A user takes part only if all of them are met',
    }),
    output: z.array(prerequisite),
    default: [],
    targets: true,
  }),
  holdout_id: setting({
    input: clearable(experimentRef).meta({
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
        'Attributes that results can be broken down by, besides country_code, is_premium, is_bot and is_internal. ' +
        'Their values are recorded at each decision, from now on',
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
      description:
        'Number of users, of all variants together, that the analysis is planned for; fixed while a run is unfinished',
    }),
    output: z.int().nullable(),
    default: null,
    fixed: 'during run',
  }),
  planned_effect: setting({
    input: clearable(z.number().gt(0).max(10)).meta({
      description:
        'Relative uplift of the primary metric that the analysis is planned to find, 0.05 is 5 %; fixed while a ' +
        'run is unfinished',
      examples: [0.05],
    }),
    output: z.number().nullable(),
    default: null,
    fixed: 'during run',
  }),
  planned_looks: setting({
    input: clearable(z.int().min(1).max(20)).meta({
      description:
        'Number of looks, equally spaced in planned_users, at which a group sequential or Bayesian analysis is read; ' +
        'null: 5 for group_sequential, 1 for bayesian; fixed while a run is unfinished',
      examples: [5],
    }),
    output: z.int().nullable(),
    default: null,
    fixed: 'during run',
  }),
  crossovers: setting({
    input: optional(crossoverRule),
    output: crossoverRule,
    default: 'exclude',
    fixed: 'during run',
  }),
  pause_on: setting({
    input: optional(distinct(z.array(pauseReason).max(2))).meta({
      description:
        'Alerts that pause the experiment. mismatch: the numbers of users do not match the shares. harm: a ' +
        'variant does harm. [] by default',
    }),
    output: z.array(pauseReason),
    default: [],
  }),
  max_daily_events: setting({
    input: clearable(z.int().min(1).max(1_000_000)).meta({
      description:
        'Users with more events than this on one day are left out of the results, in every variant; null: nobody is',
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
        'Time at which the platform starts the draft. Checks then do not start it, unless auto_start is true. ' +
        'null: no scheduled start',
    }),
    output: timestamp.nullable(),
    default: null,
  }),
  scheduled_end_at: setting({
    input: clearable(instant).meta({
      description: 'Time at which the platform completes the experiment; null: no scheduled end',
    }),
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

/** Collects the input schemas or the output schemas of all settings, by name. */
const schemasOf = <Part extends 'input' | 'output'>(part: Part) =>
  Object.fromEntries(SETTING_NAMES.map((name) => [name, SETTINGS[name][part]])) as {
    [Name in SettingName]: Table[Name][Part]
  }
export const settingInputs = schemasOf('input')
export const settingOutputs = schemasOf('output')

type Change<Row extends Table[SettingName]> =
  null extends z.output<Row['output']> ? Row['input'] : WithoutNull<Row['input']>
/** The input schemas of an update. Null is refused for a setting that cannot be empty. */
export const settingChanges = Object.fromEntries(
  SETTING_NAMES.map((name) => {
    const { input, output } = SETTINGS[name]
    return [name, output.safeParse(null).success ? input : withoutNull(input)]
  }),
) as unknown as { [Name in SettingName]: Change<Table[Name]> }

/** Makes the settings of a new experiment: those that the caller gives, and defaults for the others. */
export const settingsOf = (given: GivenSettings) =>
  Object.fromEntries(
    SETTING_NAMES.map((name) => [name, given[name] ?? structuredClone(SETTINGS[name].default)]),
  ) as Settings
