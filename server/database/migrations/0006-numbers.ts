import { Migration } from '@mikro-orm/migrations'

/**
 * Makes totals keep the numbers of a person's events, from which quantiles are answered, and lets an answer read the
 * persons of its own run only.
 */
export class Migration0006Numbers extends Migration {
  override up() {
    this.addSql(`alter table measures add column keeps_numbers boolean not null default false`)
    this.addSql(`alter table unit_metrics add column numbers double precision[]`)
    // The user is the last column: without statistics, the planner would choose an index of the run alone for the row
    // of one user, and read the whole run each time.
    this.addSql(`create index units_run_id_user_id_index on units (run_id, user_id)`)
    this.addSql(`create index unit_metrics_run_id_measure_id_user_id_index
      on unit_metrics (run_id, measure_id, user_id)`)
    this.addSql(`create function sorted_numbers(numbers double precision[]) returns double precision[]
      language sql immutable strict parallel safe return (select array_agg(n order by n) from unnest(numbers) n)`)
  }
}
