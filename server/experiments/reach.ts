import type { EntityManager } from '@mikro-orm/sql'
import type { Watch } from '../definitions/watch.ts'
import { notFound } from '../errors.ts'
import type { ExperimentDefinition, StoredVariant } from '../evaluation/definition.ts'
import { draw } from '../evaluation/evaluate.ts'
import { createPause, drawSample, type Profile } from '../users/profile-sample.ts'
import { readDecisions } from './queries.ts'
import type { Reach } from './schema.ts'

/** The most profiles that one preview reads. */
const SAMPLE = 20_000

/**
 * Counts how many stored profiles an experiment would reach if nobody were assigned to it yet. A draft counts as
 * started. If there are more than SAMPLE profiles, a random sample is drawn and its counts are scaled up.
 * @throws DomainError NOT_FOUND
 */
export async function previewReach(em: EntityManager, watch: Watch, experimentId: number): Promise<Reach> {
  const { experiments } = await watch.refresh()
  const experiment = experiments.get(experimentId)
  if (!experiment) throw notFound('Experiment', experimentId)
  const { profiles, estimated, read, sampled, scaled } = await drawSample(em, SAMPLE)
  const at = Date.now()
  const reached = new Map<number, number>()
  const leftOut = new Map<string, number>()
  const pauseIfDue = createPause()
  for await (const chunk of read()) {
    const runsOf = await readRuns(em, experiment, chunk)
    for (const profile of chunk) {
      await pauseIfDue()
      const { ownerId, attributes, segmentIds } = profile
      const decision = draw(experiment, {
        userId: ownerId,
        askedId: ownerId,
        attributes,
        segmentIds,
        at,
        runs: runsOf(profile),
      })
      if (decision.outcome === 'left out') leftOut.set(decision.reason, (leftOut.get(decision.reason) ?? 0) + 1)
      else reached.set(decision.variant.id, (reached.get(decision.variant.id) ?? 0) + 1)
    }
  }
  return {
    profiles,
    sampled: sampled(),
    estimated,
    reached: scaled([...reached.values()].reduce((sum, count) => sum + count, 0)),
    left_out: Object.fromEntries([...leftOut].map(([reason, count]) => [reason, scaled(count)])),
    variants: experiment.variants.map(({ id, name }) => ({
      variant_id: id,
      variant_name: name,
      users: scaled(reached.get(id) ?? 0),
    })),
  }
}

const noAssignments: ReadonlyMap<number, StoredVariant> = new Map()

/**
 * Reads the assignments of these profiles in the runs that a draw asks for: those of the prerequisites, of the holdout
 * and of the other experiments of the layer.
 * @returns the assignments of one profile, by run id
 */
async function readRuns(em: EntityManager, experiment: ExperimentDefinition, chunk: readonly Profile[]) {
  const { prerequisites, holdout, layer } = experiment
  const runIds = [
    ...prerequisites.flatMap(({ runId }) => runId ?? []),
    ...(holdout?.run ? [holdout.run.id] : []),
    ...(layer?.otherRunIds ?? []),
  ]
  if (runIds.length === 0) return () => noAssignments
  const userIds = new Set(chunk.flatMap(({ userId, ownerId }) => [userId, ownerId]))
  const runs = new Map<string, Map<number, StoredVariant>>()
  for (const { run_id, user_id, variant_id } of await readDecisions(em, runIds, [...userIds])) {
    const known = runs.get(user_id) ?? new Map<number, StoredVariant>()
    runs.set(user_id, known.set(run_id, { variantId: variant_id }))
  }
  // The draw is made for the owner, whose own assignments take precedence over those of an alias.
  return ({ userId, ownerId }: Profile) => new Map([...(runs.get(userId) ?? []), ...(runs.get(ownerId) ?? [])])
}
