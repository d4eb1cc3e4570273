import { compileSnapshot } from '../../../server/definitions/snapshot.ts'
import type { StoredExperiment } from '../../../server/definitions/stored.ts'
import type { ExperimentDefinition, Subject } from '../../../server/evaluation/definition.ts'
import { draw } from '../../../server/evaluation/evaluate.ts'
import { type BenchUser, type Decide, LISTED_COUNTRIES } from './question.ts'

const variant = { percent_allocated: 50, enabled: true, payload: null }
const STORED: StoredExperiment = {
  id: 1,
  key: 'experiment',
  version: 1,
  kind: 'experiment',
  mode: 'ab',
  status: 'running',
  auto_start: true,
  exposure: 'on_check',
  traffic_percent: 100,
  condition: { country_code: { $in: LISTED_COUNTRIES }, is_premium: true },
  on_ineligible: 'keep',
  payload_type: null,
  prerequisites: [],
  holdout_id: null,
  layer_id: null,
  layer_ranges: [],
  shipped_variant_id: null,
  scheduled_start_at: null,
  scheduled_end_at: null,
  run: { id: 1, number: 1, period: 1, movable_start: null },
  variants: [
    { ...variant, id: 1, name: 'control', is_control: true },
    { ...variant, id: 2, name: 'treatment', is_control: false },
  ],
  segment_ids: [],
}

/** Decides by the platform's pure function `draw`, on an experiment compiled as for a snapshot. */
export function decideByPlatform(users: readonly BenchUser[]): Decide {
  const experiment = compileExperiment()
  const subjects = users.map(subjectOf)
  return (user) => {
    const decision = draw(experiment, subjects[user] as Subject)
    return decision.outcome === 'left out' ? null : decision.variant.name
  }
}

function compileExperiment(): ExperimentDefinition {
  const definitions = { version: 1, changed_at: 0, flags: [], segments: [], overrides: [], experiments: [STORED] }
  const { experiments } = compileSnapshot(definitions, (where, error) => {
    throw new Error(where, { cause: error })
  })
  return experiments.get(STORED.id) as ExperimentDefinition
}

const subjectOf = ({ id, ...attributes }: BenchUser): Subject => ({
  userId: id,
  askedId: id,
  attributes,
  segmentIds: new Set(),
  at: 0,
  runs: new Map(),
})
