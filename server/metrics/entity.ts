import { defineEntity, type InferEntity, p } from '@mikro-orm/core'
import { Experiment } from '../experiments/entity.ts'
import type { MetricDefinition, Role } from './schema.ts'

/** A metric of the catalogue. Its current version holds the definition. */
export const Metric = defineEntity({
  name: 'Metric',
  tableName: 'metrics',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    key: p.text().unique(),
    name: p.text().unique(),
    description: p.text().strictNullable().default(null),
    version: p.integer().default(1),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})
export type Metric = InferEntity<typeof Metric>

export const MetricVersion = defineEntity({
  name: 'MetricVersion',
  tableName: 'metric_versions',
  properties: {
    metric_id: () =>
      p.manyToOne(Metric).primary().mapToPk().fieldName('metric_id').updateRule('no action').deleteRule('cascade'),
    version: p.integer().primary().autoincrement(false),
    definition: p.json().columnType('jsonb').$type<MetricDefinition>(),
    /** The measure that totals hold. Null until the next start for a quantile that an earlier version defined. */
    measure_id: p.integer().strictNullable().default(null),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})
export type MetricVersion = InferEntity<typeof MetricVersion>

export const ExperimentMetric = defineEntity({
  name: 'ExperimentMetric',
  tableName: 'experiment_metrics',
  properties: {
    experiment_id: () =>
      p
        .manyToOne(Experiment)
        .primary()
        .mapToPk()
        .fieldName('experiment_id')
        .updateRule('no action')
        .deleteRule('cascade'),
    metric_id: () =>
      p
        .manyToOne(Metric)
        .primary()
        .mapToPk()
        .fieldName('metric_id')
        .updateRule('no action')
        .deleteRule('no action')
        .index(),
    role: p.text().$type<Role>(),
    position: p.integer(),
  },
})
export type ExperimentMetric = InferEntity<typeof ExperimentMetric>
