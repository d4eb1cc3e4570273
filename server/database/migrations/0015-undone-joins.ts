import { Migration } from '@mikro-orm/migrations'

/**
 * Stores through which alias an id came to its owner, so that the id returns to that alias when the join of both is
 * undone. The ways of ids that were joined before are not known: such ids stay with their owner.
 */
export class Migration0015UndoneJoins extends Migration {
  override up() {
    this.addSql(`alter table aliases add column via_id text collate "C"`)
  }
}
