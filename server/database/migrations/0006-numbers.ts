import { Migration } from '@mikro-orm/migrations'

/** Makes totals keep the numbers of a person's events, from which quantiles are answered. */
export class Migration0006Numbers extends Migration {
  override up() {
    this.addSql(`alter table measures add column keeps_numbers boolean not null default false`)
    this.addSql(`alter table unit_metrics add column numbers double precision[]`)
    this.addSql(`create function sorted_numbers(numbers double precision[]) returns double precision[]
      language sql immutable strict parallel safe return (select array_agg(n order by n) from unnest(numbers) n)`)
  }
}
