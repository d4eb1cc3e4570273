import type { TestApp } from '../support/app.ts'
import { type Query, readRaw } from './raw.ts'
import { recomputeResults } from './recompute-results.ts'

export const queryOf =
  ({ platform }: TestApp): Query =>
  (statement) =>
    platform.orm.em.fork().execute(statement)

/** @throws Error where the answer is not what is recorded */
export async function compareResults(app: TestApp, experimentId: number, type: string) {
  const raw = await readRaw(queryOf(app))
  const answer = await app.api.results({ id: experimentId }, { conversion_event_type: type })
  const { variants, run, externally_decided, crossovers, overridden, claimed_other } = answer
  const counts = {
    run,
    variants: variants.map(({ variant_id, total_users, conversions }: typeof variants) => ({
      ...{ variant_id, total_users, conversions },
    })),
    ...{ externally_decided, crossovers, overridden, claimed_other },
  }
  const [expected, actual] = [JSON.stringify(recomputeResults(raw, experimentId, type)), JSON.stringify(counts)]
  if (actual !== expected)
    throw new Error(`Results of experiment ${experimentId} for ${type}: expected\n  ${expected}, answered\n  ${actual}`)
}
