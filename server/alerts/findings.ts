import type { ResultsAnswer } from '../results/service.ts'
import type { AlertKind } from './schema.ts'

/** A result that deserves an alert. A run raises one alert for each kind and subject. */
export type Finding = { kind: AlertKind; subject: string; message: string }

/** Finds the sample ratio mismatches, harms and gains in results. */
export function findingsOf(results: ResultsAnswer): Finding[] {
  const { decision, sample_ratio, metrics, variants, experiment_name } = results
  const nameOf = (variantId: number) =>
    variants.find(({ variant_id }) => variant_id === variantId)?.variant_name ?? String(variantId)
  const findings: Finding[] = []
  const isBlocked = decision.outcome === 'blocked'
  for (const check of ['assigned', 'exposed', 'exclusions'] as const)
    if (sample_ratio[check].is_mismatch)
      findings.push({ kind: 'mismatch', subject: check, message: `${experiment_name}: ${decision.reasons.join(' ')}` })
  for (const metric of metrics)
    for (const comparison of metric.comparisons) {
      const variant = nameOf(comparison.variant_id)
      const subject = `${metric.key} ${comparison.variant_id}`
      const said = (what: string) => `${experiment_name}: ${metric.name} is significantly ${what} in ${variant}.`
      if (isHarm(results, metric, comparison)) findings.push({ kind: 'harm', subject, message: said('worse') })
      // A blocked decision means that the data cannot be trusted, so a gain raises no alert.
      else if (!isBlocked && isGain(results, metric, comparison))
        findings.push({ kind: 'significance', subject, message: said('better') })
    }
  return findings
}

type Metric = ResultsAnswer['metrics'][number]
type Comparison = Metric['comparisons'][number]

/** Tells whether the always-valid test finds a treatment worse, since the monitor looks often. */
const isHarm = ({ decision }: ResultsAnswer, { key }: Metric, { variant_id }: Comparison): boolean =>
  decision.harms.some((one) => one.key === key && one.variant_id === variant_id)

const isGain = ({ decision }: ResultsAnswer, { key }: Metric, { variant_id }: Comparison): boolean =>
  decision.verdicts.some((one) => one.key === key && one.variant_id === variant_id && one.verdict === 'better')
