import type { Raw } from './raw.ts'
import { eventsOf, isAnalysed, peopleOf, unitsOf } from './recompute.ts'

/** Computes the counts of a results answer for the experiment's latest run from raw rows. */
export function recomputeResults(raw: Raw, experimentId: number, eventType: string) {
  const run = raw.runs.filter(({ experiment_id }) => experiment_id === experimentId).at(-1)
  const units = unitsOf(raw, peopleOf(raw)).filter((unit) => unit.run === run && unit.row.exposed_at !== null)
  const analysed = units.filter(({ row }) => isAnalysed(row))
  const converted = analysed.filter((unit) => eventsOf(unit).some(({ type }) => type === eventType))
  return {
    run: run?.number ?? null,
    variants: raw.variants
      .filter(({ experiment_id }) => experiment_id === experimentId)
      .map(({ id }) => ({
        variant_id: id,
        total_users: analysed.filter(({ row }) => row.variant === id).length,
        conversions: converted.filter(({ row }) => row.variant === id).length,
      })),
    externally_decided: units.filter(({ row }) => row.is_external).length,
    crossovers: units.filter(({ row }) => row.excluded_reason === 'crossover').length,
    overridden: units.filter(({ row }) => row.excluded_reason === 'override').length,
    claimed_other: units.filter(({ row }) => row.claims_other).length,
  }
}
