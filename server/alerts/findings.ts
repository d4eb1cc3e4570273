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

/**
 * True when a guardrail or primary metric is significantly worse. The monitor reads results often, so the test uses the
 * always-valid p value, whatever method decides the experiment.
 */
function isHarm({ confidence_level }: ResultsAnswer, { role, direction }: Metric, comparison: Comparison): boolean {
  const { always_valid, difference } = comparison
  if (role === 'secondary' || !always_valid || difference === null) return false
  const pValue = role === 'primary' ? always_valid.p_value_adjusted : always_valid.p_value
  const isWorse = direction === 'increase' ? difference < 0 : difference > 0
  return isWorse && pValue !== null && pValue < 1 - confidence_level
}

const isGain = ({ decision }: ResultsAnswer, { key }: Metric, { variant_id }: Comparison): boolean =>
  decision.verdicts.some((one) => one.key === key && one.variant_id === variant_id && one.verdict === 'better')
