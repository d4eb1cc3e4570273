import { verifyTotals } from '../../server/totals/verify.ts'
import type { Loose } from '../support/api.ts'
import type { TestApp } from '../support/app.ts'
import { type Query, type Raw, readRaw } from './raw.ts'
import { recompute } from './recompute.ts'
import { recomputeResults } from './recompute-results.ts'
import { readTotals } from './stored.ts'
import { differences, linesOf } from './totals.ts'

const queryOf =
  ({ platform }: TestApp): Query =>
  (statement) =>
    platform.orm.em.fork().execute(statement)

/**
 * Folds all events, and compares every total with the recomputation.
 * @returns the totals, one line per row
 * @throws Error with every line that differs
 */
export async function compareTotals(app: TestApp): Promise<string[]> {
  await app.platform.reporting.totals.catchUp()
  const query = queryOf(app)
  const expected = linesOf(recompute(await readRaw(query)))
  const actual = linesOf(await readTotals(query))
  const verified = await verifyTotals(app.platform.orm.em.fork())
  const found = differences(expected, actual)
  if (found.length > 0 || verified !== null)
    throw new Error(
      `Totals (- recomputed, + stored):\n${found.join('\n')}\nverifyTotals: ${verified ?? 'no difference'}`,
    )
  return actual
}

/** Compares the counts of an answer with the recomputed counts. @throws Error where they differ */
export async function compareResults(app: TestApp, experimentId: number, type: string) {
  const answer = await app.api.results({ id: experimentId }, { conversion_event_type: type })
  const fault = resultsFault(await readRaw(queryOf(app)), answer, experimentId, type)
  if (fault !== null) throw new Error(fault)
}

/** Later than everything that tests record. */
const LATER = '2100-01-01T00:00:00Z'

/**
 * Compares the figures of the attached metrics with those of the same question bounded by a time that is later than everything:
 * totals cannot answer that question, so the platform reads raw events.
 * @returns what the metrics were read from
 * @throws Error where a figure differs in its last digit
 */
export async function compareWithRaw(
  app: TestApp,
  experimentId: number,
  crossovers: 'exclude' | 'first',
): Promise<Loose[]> {
  // At a low level of confidence, few events have a quantile.
  const ask = async (question: object): Promise<Loose[]> => {
    const { metrics } = await app.api.results({ id: experimentId }, { confidence_level: 0.4, ...question })
    return metrics.filter(({ version }: Loose) => version !== null)
  }
  const kept = await ask({ crossovers })
  const raw = await ask({ crossovers, to: LATER })
  for (const [index, metric] of kept.entries()) {
    const [one, other] = [metric, raw[index]].map(({ source, cost, ...figures }) => JSON.stringify(figures))
    if (metric.status === 'ready' && one !== other)
      throw new Error(`Experiment ${experimentId}, from ${metric.source}:\n  ${one}, from events:\n  ${other}`)
  }
  return kept.map(({ key, kind, source }) => ({ key, kind, source }))
}

/** Compares the counts of an answer with the recomputed ones. @returns the difference in words; null where none is */
export function resultsFault(raw: Raw, answer: Loose, experimentId: number, type: string): string | null {
  const { variants, run, externally_decided, crossovers, overridden, claimed_other, data_through } = answer
  const counts = {
    run,
    variants: variants.map(({ variant_id, total_users, conversions }: Loose) => ({
      variant_id,
      total_users,
      conversions,
    })),
    externally_decided,
    crossovers,
    overridden,
    claimed_other,
  }
  const [expected, actual] = [JSON.stringify(recomputeResults(raw, experimentId, type)), JSON.stringify(counts)]
  if (data_through !== null)
    return `Results of experiment ${experimentId} count only events received before ${data_through}`
  return actual === expected
    ? null
    : `Results of experiment ${experimentId} for ${type}: expected\n  ${expected}, answered\n  ${actual}`
}
