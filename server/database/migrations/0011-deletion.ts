import { Migration } from '@mikro-orm/migrations'

/** Notes the runs of deleted experiments, whose recorded rows a background job deletes. */
export class Migration0011Deletion extends Migration {
  override up() {
    this.addSql(`create table deleted_runs (
      run_id int primary key,
      deleted_at timestamptz not null default now_ms())`)
  }
}
