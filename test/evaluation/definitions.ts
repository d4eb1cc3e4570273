import { compileSnapshot } from '../../server/definitions/snapshot.ts'
import type { Definitions, StoredExperiment } from '../../server/definitions/stored.ts'
import type { ExperimentDefinition, Subject } from '../../server/evaluation/definition.ts'

/** A running experiment as the platform stores it. The ids of its run and its variants are derived from its id. */
export const storedExperiment = (
  id: number,
  percents: readonly number[],
  change: Partial<StoredExperiment> = {},
): StoredExperiment => ({
  id,
  key: `experiment-${id}`,
  version: 1,
  kind: 'experiment',
  mode: 'ab',
  status: 'running',
  auto_start: true,
  exposure: 'on_check',
  traffic_percent: 100,
  condition: null,
  on_ineligible: 'keep',
  prerequisites: [],
  holdout_id: null,
  layer_id: null,
  layer_ranges: [],
  payload_type: null,
  shipped_variant_id: null,
  scheduled_start_at: null,
  scheduled_end_at: null,
  run: { id, number: 1, period: 1, movable_start: null },
  variants: percents.map((percent_allocated, index) => ({
    id: id * 10 + index,
    name: `variant ${index}`,
    percent_allocated,
    enabled: true,
    is_control: index === 0,
    payload: null,
  })),
  segment_ids: [],
  ...change,
})

/** A set of definitions that is empty. */
export const nothing: Definitions = {
  version: 1,
  changed_at: 0,
  flags: [],
  experiments: [],
  segments: [],
  overrides: [],
}

/** Compiles experiments together, with their layers, as the server does. Keeps their order. */
export function compileAll(experiments: StoredExperiment[]): ExperimentDefinition[] {
  const snapshot = compileSnapshot({ ...nothing, experiments }, (where, error) => {
    throw new Error(where, { cause: error })
  })
  return experiments.map(({ id }) => snapshot.experiments.get(id) as ExperimentDefinition)
}

/** A user without attributes. @param runs the user's stored decisions, by run id */
export const subject = (userId: string, runs: Subject['runs'] = new Map()): Subject => ({
  userId,
  askedId: userId,
  attributes: {},
  segmentIds: new Set(),
  at: 0,
  runs,
})

/** Makes users without stored decisions. */
export const newUsers = (count: number, prefix = 'user'): Subject[] =>
  Array.from({ length: count }, (_, user) => subject(`${prefix}_${user}`))
