import { defineEntity, type InferEntity, p } from '@mikro-orm/core'

/** One row: the identity of this database, and the version of definitions that every process polls. */
export const PlatformState = defineEntity({
  name: 'PlatformState',
  tableName: 'platform',
  properties: {
    id: p.integer().primary().autoincrement(false),
    identity: p.uuid().defaultRaw('gen_random_uuid()'),
    time_zone: p.text(),
    definitions_version: p.integer().default(1),
    definitions_changed_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
    /** When hand-made members of a segment that flags read last changed. */
    members_changed_at: p.datetime().columnType('timestamptz').nullable(),
    /** The secret that signs the links to streams of changes. */
    stream_secret: p.text().defaultRaw('((gen_random_uuid())::text || (gen_random_uuid())::text)').hidden(),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
  checks: [{ name: 'platform_single_row', expression: 'id = 1' }],
})

/**
 * One row: the version of the profiles. The version has its own row, so that raising it does not wait for a change of
 * definitions.
 */
export const ProfilesState = defineEntity({
  name: 'ProfilesState',
  tableName: 'people_state',
  properties: {
    id: p.integer().primary().autoincrement(false),
    version: p.bigint('number').defaultRaw('0'),
  },
  checks: [{ name: 'people_state_single_row', expression: 'id = 1' }],
})

/**
 * One row per user who was erased, or joined to another user as an alias. Cached data of the user from before the
 * change is not used any more.
 */
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

/**
 * A change: who made it, and the row before and after. Triggers write the entries of definitions, so that every change
 * is recorded; `audit/user-changes.ts` writes those that name users.
 */
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
  indexes: [
    { properties: ['subject', 'subject_id', 'id'] },
    {
      name: 'audit_log_user_id_index',
      expression: `create index "audit_log_user_id_index" on "audit_log" ((coalesce(after, before) ->> 'user_id')) where subject in ('aliases', 'overrides', 'exclusions')`,
    },
  ],
})
export type AuditEntry = InferEntity<typeof AuditEntry>

/** An experiment as decisions use it, in force from a time on. Every change appends a row; rows are never changed. */
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
 * A flag as it was from a time on; the definition is null from the deletion on. `segments` holds the segments that the
 * flag reads, and is null if they are the same as in the version before.
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

/** The keys of flags and experiments, which share one namespace. Triggers maintain this table. */
export const EvaluationKey = defineEntity({
  name: 'EvaluationKey',
  tableName: 'evaluation_keys',
  properties: { key: p.text().primary().collation('C') },
})
