import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Condition } from '../evaluation/condition.ts'
import type { ExperimentDefinition } from '../evaluation/definition.ts'
import type { FlagDefinition } from '../evaluation/flag.ts'
import { compileExperiment, compileSegments, type OnBadRule, type Surroundings } from './compile.ts'
import { compileFlag } from './compile-flag.ts'
import type { Definitions, StoredExperiment } from './stored.ts'

/** All definitions of one version, compiled. A snapshot never changes; a new version replaces it as a whole. */
export type Snapshot = {
  readonly version: number
  readonly experiments: ReadonlyMap<number, ExperimentDefinition>
  /** Flags, and the experiments that can be read as flags (neither archived nor holdouts), by ascending key. */
  readonly byKey: ReadonlyMap<string, FlagDefinition | ExperimentDefinition>
  /** When the definitions last changed, in milliseconds since 1970. */
  readonly changedAt: number
  /** When rules of flags come into force or end, in milliseconds since 1970, ascending. */
  readonly flagTimes: readonly number[]
  /** The highest experiment id. An experiment with a higher id may be newer than the snapshot. */
  readonly highestId: number
  /** The compiled rules of all segments, by segment id. */
  readonly segments: ReadonlyMap<number, Condition>
  /** The owners of stored rules that do not compile, such as `segment 3`. These rules match nobody. */
  readonly badRules: readonly string[]
  /** The experiments with a scheduled start or end, with the time in milliseconds since 1970. */
  readonly scheduled: readonly { readonly experimentId: number; readonly version: number; readonly at: number }[]
}

/** How many experiments and flags are compiled without a pause. */
const BATCH = 200

/** Compiles a snapshot in batches. Other work, such as decisions, runs between two batches. */
export async function compileInBatches(definitions: Definitions, warn: OnBadRule): Promise<Snapshot> {
  const steps = compile(definitions, warn)
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done) return step.value
    await nextTurn()
  }
}

/** Compiles a snapshot without a pause. */
export function compileSnapshot(definitions: Definitions, warn: OnBadRule): Snapshot {
  const steps = compile(definitions, warn)
  for (let step = steps.next(); ; step = steps.next()) if (step.done) return step.value
}

/** Compiles all definitions. Yields after every batch, so that the caller can let other work run. */
function* compile(definitions: Definitions, warn: OnBadRule): Generator<undefined, Snapshot> {
  const badRules: string[] = []
  const onBadRule: OnBadRule = (where, error) => {
    badRules.push(where)
    warn(where, error)
  }
  const segments = compileSegments(definitions.segments, onBadRule)
  const { experiments, compileOne } = experimentCompiler(definitions, segments, onBadRule)
  let done = 0
  for (const { id } of definitions.experiments) {
    compileOne(id)
    if (++done % BATCH === 0) yield
  }
  const flags: FlagDefinition[] = []
  for (const flag of definitions.flags) {
    flags.push(compileFlag(flag, { segments, experiments }, onBadRule))
    if (++done % BATCH === 0) yield
  }
  return {
    version: definitions.version,
    experiments,
    byKey: keyed(flags, experiments),
    changedAt: definitions.changed_at,
    flagTimes: [...new Set(flags.flatMap(timesOf))].sort((a, b) => a - b),
    highestId: definitions.experiments.at(-1)?.id ?? 0,
    segments,
    badRules,
    scheduled: definitions.experiments.flatMap(scheduleOf),
  }
}

/** Compiles experiments one by one, each after its holdout and its prerequisites. */
function experimentCompiler(definitions: Definitions, segments: Snapshot['segments'], onBadRule: OnBadRule) {
  const stored = new Map(definitions.experiments.map((experiment) => [experiment.id, experiment]))
  const inLayers = definitions.experiments.filter((experiment) => experiment.layer_id !== null)
  const layers = Map.groupBy(inLayers, (experiment) => experiment.layer_id)
  const overrides = overridesByExperiment(definitions)
  const experiments = new Map<number, ExperimentDefinition>()
  /** Experiments whose compilation has begun. Stored references form no circle; this set would stop at one. */
  const begun = new Set<number>()
  const compileOne = (id: number): ExperimentDefinition | undefined => {
    const done = experiments.get(id)
    const experiment = stored.get(id)
    if (done || !experiment || begun.has(id)) return done
    begun.add(id)
    const ownRunId = experiment.run?.id
    const surroundings: Surroundings = {
      segments,
      overrides: overrides.get(id) ?? noOverrides,
      layerRunIds: unfinishedRuns(layers.get(experiment.layer_id) ?? []).filter((runId) => runId !== ownRunId),
      holdout: (experiment.holdout_id !== null && compileOne(experiment.holdout_id)) || null,
      prerequisite: (needed) => {
        const found = compileOne(needed)
        return { runId: found?.run?.id ?? null, depth: found?.depth ?? -1 }
      },
    }
    const compiled = compileExperiment(experiment, surroundings, onBadRule)
    experiments.set(id, compiled)
    return compiled
  }
  return { experiments, compileOne }
}

/** Groups overrides by experiment. @returns maps from user id to variant id, by experiment id */
function overridesByExperiment({ overrides }: Definitions) {
  const byExperiment = new Map<number, Map<string, number>>()
  for (const { experiment_id, user_id, variant_id } of overrides) {
    const forced = byExperiment.get(experiment_id) ?? new Map<string, number>()
    byExperiment.set(experiment_id, forced.set(user_id, variant_id))
  }
  return byExperiment
}

/** Collects the flags, and the experiments that can be read as flags, by ascending key. */
function keyed(flags: readonly FlagDefinition[], experiments: ReadonlyMap<number, ExperimentDefinition>) {
  const readable = [...experiments.values()].filter(
    ({ kind, status }) => kind === 'experiment' && status !== 'archived',
  )
  const all = [...flags, ...readable].map((entry): [string, FlagDefinition | ExperimentDefinition] => [
    entry.key,
    entry,
  ])
  return new Map(all.sort(([a], [b]) => (a < b ? -1 : 1)))
}

const timesOf = ({ rules }: FlagDefinition) => rules.flatMap(({ from, until }) => [from, until]).filter(Number.isFinite)

const isUnfinished = ({ status }: StoredExperiment) => status === 'running' || status === 'paused'
const unfinishedRuns = (experiments: readonly StoredExperiment[]) =>
  experiments.filter(isUnfinished).flatMap(({ run }) => (run ? [run.id] : []))

const noOverrides: ReadonlyMap<string, number> = new Map()

/** Lists the scheduled start of a draft, or the scheduled end of an experiment with an unfinished run. */
function scheduleOf(stored: StoredExperiment) {
  const at =
    stored.status === 'draft' ? stored.scheduled_start_at : isUnfinished(stored) ? stored.scheduled_end_at : null
  return at === null ? [] : [{ experimentId: stored.id, version: stored.version, at }]
}
