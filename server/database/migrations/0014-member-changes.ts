import { Migration } from '@mikro-orm/migrations'

/** Stores when members of a segment that flags read last changed, so that streams of changes notify of it. */
export class Migration0014MemberChanges extends Migration {
  override up() {
    this.addSql(`alter table platform add column members_changed_at timestamptz`)
  }
}
