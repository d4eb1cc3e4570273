import { type Condition, compileRules } from '../evaluation/condition.ts'
import type { ExperimentDefinition } from '../evaluation/evaluate.ts'
import type { Definitions } from './queries.ts'

/** All definitions of one version, compiled; never changed, only replaced whole. */
export type Snapshot = {
  readonly version: number
  readonly experiments: ReadonlyMap<number, ExperimentDefinition>
  /** The highest experiment id: a higher one may be newer than the snapshot. */
  readonly highestId: number
}

const nobody: Condition = { holds: () => false, reads: [] }

/** @param onBadRule is told of a stored rule that does not compile; it makes nobody eligible, never everybody */
export function compileSnapshot(
  definitions: Definitions,
  onBadRule: (segmentId: number, error: unknown) => void,
): Snapshot {
  const conditions = new Map(
    definitions.segments.map((segment) => {
      try {
        return [segment.id, compileRules(segment.rules)] as const
      } catch (error) {
        onBadRule(segment.id, error)
        return [segment.id, nobody] as const
      }
    }),
  )
  const experiments = new Map<number, ExperimentDefinition>()
  for (const stored of definitions.experiments) {
    const segments = stored.segment_ids.map((id) => ({ id, condition: conditions.get(id) ?? nobody }))
    experiments.set(stored.id, {
      id: stored.id,
      key: stored.key,
      version: stored.version,
      status: stored.status,
      autoStart: stored.auto_start,
      exposesOnCheck: stored.exposure === 'on_check',
      trafficPercent: stored.traffic_percent,
      shippedVariantId: stored.shipped_variant_id,
      run: stored.run && {
        id: stored.run.id,
        number: stored.run.number,
        period: stored.run.period,
        movableStart: stored.run.movable_start,
      },
      variants: stored.variants.map(({ percent_allocated, ...variant }) => ({
        ...variant,
        percentAllocated: percent_allocated,
      })),
      segments,
      reads: [...new Set(segments.flatMap((segment) => segment.condition.reads))],
    })
  }
  return { version: definitions.version, experiments, highestId: definitions.experiments.at(-1)?.id ?? 0 }
}
