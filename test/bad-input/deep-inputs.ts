import type { Input } from './request.ts'
import type { TestData } from './test-data.ts'

/**
 * Fields to put into the valid input of a procedure, so that its inputs together have every object at every depth. A
 * field that is undefined is left out.
 */
export function deepInputs(procedure: string, data: TestData): Input[] {
  const { running, draft } = data.experiments
  switch (procedure) {
    case 'layers.setShare':
      return [{ percent: undefined, ranges: [{ from: 0, to: 10 }] }]
    case 'flags.create':
    case 'flags.update':
      return [
        {
          rules: [
            { rollout: [{ percent: 50, value: {} }] },
            {
              experiment: {
                experiment_id: running.id,
                values: [{ variant_id: running.variants.treatment, value: {} }],
              },
            },
          ],
        },
      ]
    case 'metrics.create':
    case 'metrics.update':
      return definitions.map((definition) => ({ definition }))
    case 'planning.sampleSize':
    case 'planning.power':
      return plannedMetrics.map((metric) => ({
        metric,
        guardrails: plannedMetrics.map((guarded) => ({ metric: guarded, margin: { type: 'absolute', size: 0.01 } })),
      }))
    case 'metrics.setOfExperiment':
      return [{ experiment_id: draft.id, metrics: [{ metric_id: data.metric.id, role: 'primary' }] }]
    case 'results.report':
    case 'results.follow':
      return [{ experiment_id: running.id }]
    default:
      return [{}]
  }
}

const source = { event_type: 'view', filter: { page: 'home' } }
const common = { guardrail_margin: { type: 'relative', size: 0.02 }, prior: { mean: 0, sd: 0.1 } }
const definitions = [
  { type: 'proportion', ...source, ...common },
  { type: 'count', ...source, ...common },
  { type: 'sum', ...source, property: 'value', ...common },
  { type: 'mean', ...source, property: 'value', ...common },
  { type: 'ratio', numerator: source, denominator: { ...source, property: 'value' }, ...common },
  { type: 'retention', ...source, day: 7, ...common },
  { type: 'quantile', ...source, property: 'value', quantile: 0.9, ...common },
]
const plannedMetrics = [
  { type: 'proportion', rate: 0.1 },
  { type: 'mean', mean: 10, standard_deviation: 20 },
  { type: 'ratio', ratio: 2, standard_deviation: 3 },
]
