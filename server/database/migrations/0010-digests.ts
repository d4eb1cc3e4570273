import { Migration } from '@mikro-orm/migrations'

/** Stores a digest with each frozen answer. Older answers have none. */
export class Migration0010Digests extends Migration {
  override up() {
    this.addSql(`alter table frozen_results add column digest text`)
  }
}
