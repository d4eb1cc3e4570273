import { defineEntity, p } from '@mikro-orm/core'

/** A user whom a request excluded from the results of an experiment. */
export const ExcludedUnit = defineEntity({
  name: 'ExcludedUnit',
  tableName: 'excluded_units',
  properties: {
    user_id: p.text().primary().collation('C'),
    experiment_id: p.integer().primary().autoincrement(false).index(),
    note: p.text().strictNullable().default(null),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})
