import { Migration } from '@mikro-orm/migrations'

/**
 * Stores through which alias an id came to its owner, so that the id returns to that alias when the join of both is
 * undone. The ways of ids that were joined before are not known: such ids stay with their owner.
 *
 * The audit log also names users from now on. The index finds the entries of a user who is erased.
 */
export class Migration0015UndoneJoins extends Migration {
  override up() {
    this.addSql(`alter table aliases add column via_id text collate "C"`)
    this.addSql(`create index audit_log_user_id_index on audit_log ((coalesce(after, before) ->> 'user_id'))
      where subject in ('aliases', 'overrides', 'exclusions')`)
  }
}
