import type { Input, Random } from './request.ts'
import type { Field, Route } from './routes.ts'
import type { TestData } from './test-data.ts'

/**
 * Makes valid input for a route, into which a test puts a fault. Fields get a value by their kind, and references by
 * their name. `particular` chooses the values that depend on a status or a link.
 * @param extent `most` gives the optional fields too
 */
export function baseOf(route: Route, data: TestData, random: Random, extent: 'least' | 'most'): Input {
  const chosen = particular(route.procedure, data, random)
  const [first, ...others] = ONE_OF[route.procedure] ?? []
  const input: Input = {}
  for (const field of route.fields)
    if (
      field.required ||
      field.name === first ||
      NEEDED[route.procedure] === field.name ||
      (extent === 'most' && !others.includes(field.name))
    )
      input[field.name] = field.name in chosen ? chosen[field.name] : valid(field, data, random)
  return input
}

/** Optional fields that the values of `particular` need, such as the confirmation of a new run while a run goes on. */
const NEEDED: Record<string, string> = { 'experiments.newRun': 'confirm' }

/** Fields of which exactly one may be given. The base gives the first of them. */
const ONE_OF: Record<string, string[]> = {
  'assignments.checkEligibility': ['experiment_ids', 'experiment_keys'],
  'segments.preview': ['rules', 'segment_id'],
  'layers.setShare': ['percent', 'ranges'],
}

function particular(procedure: string, data: TestData, random: Random): Input {
  const { draft, running, paused, completed, archived } = data.experiments
  switch (procedure) {
    case 'experiments.create':
      return { kind: 'experiment', percent_held: null, ...settings(data) }
    case 'experiments.update':
      return { experiment_id: draft.id, percent_held: undefined, ...settings(data) }
    case 'layers.delete':
      return { layer_id: data.spareLayer }
    case 'layers.setShare':
    case 'layers.leave':
      return { experiment_id: data.experiments.bare.id }
    case 'experiments.delete':
      return { experiment_id: data.disposable.id, confirm: data.disposable.key }
    case 'experiments.start':
      return { experiment_id: draft.id }
    case 'experiments.list':
      return { status: ['draft'], sort: 'id' }
    case 'segments.list':
    case 'layers.list':
    case 'metrics.list':
      return { sort: 'id' }
    case 'flags.list':
      return { sort: 'key' }
    case 'users.undoAlias':
      return { alias_id: data.alias }
    case 'experiments.addVariant':
      return { experiment_id: draft.id, percent_allocated: 0 }
    case 'experiments.updateVariant':
      return { experiment_id: draft.id, variant_id: draft.variants.treatment, percent_allocated: 40 }
    case 'experiments.deleteVariant':
      return { experiment_id: draft.id, variant_id: draft.variants.spare }
    case 'experiments.resume':
      return { experiment_id: paused.id }
    case 'experiments.archive':
    case 'experiments.reopen':
      return { experiment_id: completed.id }
    case 'experiments.ship':
      return { experiment_id: completed.id, shipped_variant_id: completed.variants.treatment }
    case 'experiments.unarchive':
      return { experiment_id: archived.id }
    case 'experiments.complete':
      return { shipped_variant_id: running.variants.treatment }
    case 'segments.unassignExperiment':
      return { segment_id: data.segments.used.id }
    case 'flags.create':
      return { type: 'object', ...flagSettings(data) }
    case 'flags.update':
      return { key: data.flag, version: null, ...flagSettings(data) }
    case 'flags.delete':
      return { key: data.spareFlag }
    case 'flags.get':
    case 'flags.history':
    case 'flags.uses':
      return { key: data.flag }
    case 'flags.explain':
      return { key: data.flag, at: new Date().toISOString() }
    case 'assignments.explain':
      return { at: new Date().toISOString() }
    case 'auth.createKey':
    case 'auth.updateKey':
      return { expires_at: inHours(1) }
    case 'experiments.newRun':
      return { started_at: undefined, confirm: running.key }
    case 'planning.sampleSize':
      return { metric: { type: 'proportion', rate: 0.1 }, allocation: [50, 25, 25], guardrails: [] }
    case 'planning.power':
      return { metric: { type: 'mean', mean: 10, standard_deviation: 20 }, users: [1000, 1000], guardrails: [] }
    case 'metrics.create':
      return { definition: COUNTED }
    case 'metrics.update':
      return { metric_id: data.spareMetric, definition: COUNTED }
    case 'metrics.delete':
      return { metric_id: data.spareMetric }
    case 'metrics.setOfExperiment':
      return { experiment_id: draft.id, metrics: [{ metric_id: data.metric.id, role: 'primary' }] }
    case 'results.get':
      return { ...question(data), metrics: [data.metric.key] }
    case 'results.series':
      return { run: 1, metric: data.metric.key }
    case 'results.freeze':
      return { experiment_id: completed.id, run: 1 }
    case 'results.frozen':
      return { ...unasked(data), experiment_id: data.experiments.frozen.id }
    case 'events.recordBatch':
      return { events: [{ user_id: data.users.ada.id, type: random.word() }] }
    default:
      return {}
  }
}

const COUNTED = { type: 'count', event_type: 'view', filter: { page: 'home' } }

/** The optional fields of a question about results that can be answered. */
const question = ({ segments }: TestData): Input => ({
  run: 1,
  dimension: 'country_code',
  where: { country_code: 'US' },
  segment_id: segments.listed.id,
  from: inHours(-2),
  to: inHours(-1),
})
/** The input without optional fields, because a frozen run has one answer only. */
const unasked = (data: TestData): Input => {
  const plain = { conversion_event_type: 'conversion', confidence_level: 0.95, significance_threshold: 0.05 }
  const others = [
    'interval_method',
    'method',
    'metrics',
    'event_types',
    'window_hours',
    'complete_windows',
    'crossovers',
    'as_of',
  ]
  return {
    ...Object.fromEntries([...Object.keys(question(data)), ...others].map((name) => [name, undefined])),
    ...plain,
  }
}

const inHours = (hours: number) => new Date(Date.now() + hours * 3.6e6).toISOString()

/** Settings of an experiment that are valid together. */
const settings = ({ experiments: { running }, holdout }: TestData): Input => ({
  prerequisites: [{ experiment_id: running.id, variant_ids: [running.variants.treatment] }],
  holdout_id: holdout,
  scheduled_start_at: inHours(1),
  scheduled_end_at: inHours(2),
  payload_schema: { type: 'object' },
})

/** Settings of a flag of type object. */
const flagSettings = ({ experiments: { running }, segments }: TestData): Input => ({
  value_schema: { type: 'object' },
  rules: [
    { condition: { plan: 'gold' }, segment_ids: [segments.used.id], value: { from: 'a rule' } },
    { id: 'drawn', rollout: [{ percent: 50, value: {} }] },
    { experiment: { experiment_id: running.id, values: [] } },
  ],
})

const references: Record<string, (data: TestData) => unknown> = {
  experiment_id: (data) => data.experiments.running.id,
  experiment_ids: (data) => data.experiments.running.id,
  variant_id: (data) => data.experiments.running.variants.treatment,
  layer_id: (data) => data.layer,
  segment_id: (data) => data.segments.unused.id,
  key_id: (data) => data.spareKey,
  metric_id: (data) => data.metric.id,
  user_id: (data) => data.users.ada.id,
}

function valid(field: Field, data: TestData, random: Random): unknown {
  const reference = references[field.name]
  if (reference && field.kind !== 'array') return reference(data)
  switch (field.kind) {
    case 'id':
    case 'integer':
      return 10
    case 'percent':
      return 50
    case 'share':
      return 0.5
    case 'number':
      return 0.75
    case 'boolean':
      return false
    case 'literal':
      return field.schema.const
    case 'enum':
      return field.schema.enum?.at(-1)
    case 'instant':
      return new Date(Math.floor(Date.now() / 3.6e6 - 1) * 3.6e6).toISOString()
    case 'email':
      return `${random.word()}@example.com`
    case 'pattern':
      if (field.name === 'time_zone') return 'Europe/Paris'
      return field.schema.pattern === '^[A-Z]{2}$' ? 'US' : random.word()
    case 'label':
    case 'text':
    case 'any text':
    case 'user id':
      return random.word()
    case 'object':
    case 'json':
    case 'rules':
      return { [random.word()]: random.int(0, 9) }
    case 'array':
      return [valid(field.items as Field, data, random)]
  }
}
