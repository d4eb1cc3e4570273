import type { EntityManager } from '@mikro-orm/sql'
import { notFound } from '../errors.ts'
import { Experiment, Run } from '../experiments/entity.ts'
import { simpleResults } from '../statistics/simple-results.ts'
import { countConversions } from './queries.ts'
import type { GetResults, Results } from './schema.ts'

/** The documented answer: a fixed-horizon reading of one event type, not corrected for several variants. */
export async function getResults(em: EntityManager, input: GetResults): Promise<Results> {
  const experiment = await em.findOne(Experiment, input.experiment_id)
  if (!experiment) throw notFound('Experiment', input.experiment_id)
  const [run] = await em.find(Run, { experiment_id: experiment.id }, { orderBy: { number: 'desc' }, limit: 1 })
  const counts = await countConversions(em, experiment.id, input.conversion_event_type)
  const { variants, winner } = simpleResults({
    variants: counts,
    confidenceLevel: input.confidence_level,
    significanceThreshold: input.significance_threshold,
    intervalMethod: input.interval_method ?? 'wilson',
  })
  const sum = (field: 'externally_decided' | 'crossovers' | 'overridden' | 'claimed_other') =>
    counts.reduce((total, row) => total + row[field], 0)
  return {
    experiment_id: experiment.id,
    experiment_name: experiment.name,
    conversion_event_type: input.conversion_event_type,
    confidence_level: input.confidence_level,
    significance_threshold: input.significance_threshold,
    run: run?.number ?? null,
    variants,
    winner,
    externally_decided: sum('externally_decided'),
    crossovers: sum('crossovers'),
    overridden: sum('overridden'),
    claimed_other: sum('claimed_other'),
  }
}
