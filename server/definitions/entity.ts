import { defineEntity, type InferEntity, p } from '@mikro-orm/core'

/** One row: what this database is, and the versions that every process watches. */
export const PlatformState = defineEntity({
  name: 'PlatformState',
  tableName: 'platform',
  properties: {
    id: p.integer().primary().autoincrement(false),
    identity: p.uuid().defaultRaw('gen_random_uuid()'),
    time_zone: p.text(),
    definitions_version: p.integer().default(1),
    definitions_changed_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
    /** Signs the links to streams of changes. */
    stream_secret: p.text().defaultRaw('((gen_random_uuid())::text || (gen_random_uuid())::text)').hidden(),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
  checks: [{ name: 'platform_single_row', expression: 'id = 1' }],
})

/** One row: the version of the people, a row of its own so that raising it waits for no change of definitions. */
export const ProfilesState = defineEntity({
  name: 'ProfilesState',
  tableName: 'people_state',
  properties: {
    id: p.integer().primary().autoincrement(false),
    version: p.bigint('number').defaultRaw('0'),
  },
  checks: [{ name: 'people_state_single_row', expression: 'id = 1' }],
})

/** One row per erasure or alias: caches filled before it say nothing of that person any more. */
export const PersonChange = defineEntity({
  name: 'PersonChange',
  tableName: 'people_changes',
  properties: {
    version: p.bigint('number').primary().autoincrement(false),
    user_digest: p.text(),
    kind: p.text().$type<'erased' | 'joined'>().default('erased'),
    changed_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()').index(),
  },
})

/** A change of a definition: by whom, before and after. Triggers write it, so that no change can avoid it. */
export const AuditEntry = defineEntity({
  name: 'AuditEntry',
  tableName: 'audit_log',
  properties: {
    id: p.bigint('number').primary().generated('by default as identity'),
    at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
    actor: p.text(),
    subject: p.text(),
    subject_id: p.text(),
    action: p.text(),
    before: p.json().columnType('jsonb').strictNullable(),
    after: p.json().columnType('jsonb').strictNullable(),
  },
  indexes: [{ properties: ['subject', 'subject_id', 'id'] }],
})
export type AuditEntry = InferEntity<typeof AuditEntry>

/** An experiment as deciding saw it, from a time on; appended to at every change, never changed. */
export const DefinitionHistory = defineEntity({
  name: 'DefinitionHistory',
  tableName: 'definition_history',
  properties: {
    experiment_id: p.integer().primary().autoincrement(false),
    version: p.integer().primary().autoincrement(false),
    from: p.datetime().columnType('timestamptz'),
    definition: p.json().columnType('jsonb'),
  },
})

/**
 * A flag as it was from a time on, null from its deletion on; and the segments it reads, where they are other ones than
 * before.
 */
export const FlagHistory = defineEntity({
  name: 'FlagHistory',
  tableName: 'flag_history',
  properties: {
    key: p.text().primary().collation('C'),
    version: p.integer().primary().autoincrement(false),
    from: p.datetime().columnType('timestamptz'),
    actor: p.text(),
    definition: p.json().columnType('jsonb').strictNullable(),
    segments: p.json().columnType('jsonb').strictNullable(),
  },
})

/** The keys of flags and experiments, which share one namespace; kept by triggers. */
export const EvaluationKey = defineEntity({
  name: 'EvaluationKey',
  tableName: 'evaluation_keys',
  properties: { key: p.text().primary().collation('C') },
})
