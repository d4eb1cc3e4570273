import { Migration } from '@mikro-orm/migrations'

/**
 * Stores by which id a person's rollouts are drawn, where this is not the person's own id: the first id that the platform
 * knew. People who were joined before keep the draws of their own id.
 *
 * Stores in which edition of the condition language a rule was written. The rules until now are of edition 1, and go on
 * to select the same users until they are changed. The rules of flags hold their edition themselves.
 */
export class Migration0013PeopleAndRules extends Migration {
  override up() {
    this.addSql(`create table draw_ids (
      user_id text collate "C" primary key,
      draw_id text collate "C" not null)`)
    this.addSql(`create index draw_ids_draw_id_index on draw_ids (draw_id)`)

    this.addSql(`alter table experiments add column condition_edition int not null default 1`)
    this.addSql(`alter table experiments alter column condition_edition set default 2`)
    this.addSql(`alter table segments add column rules_edition int not null default 1`)
    this.addSql(`alter table segments alter column rules_edition set default 2`)
  }
}
