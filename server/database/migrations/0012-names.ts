import { Migration } from '@mikro-orm/migrations'

/** Gives segments and layers keys, derived from their names, and experiments an owner and tags. */
export class Migration0012Names extends Migration {
  override up() {
    for (const [table, fallback] of [
      ['segments', 'segment'],
      ['layers', 'layer'],
    ] as const) {
      this.addSql(`alter table ${table} add column key text`)
      // As `definitions/derived-key.ts` does: -2, -3 and so on where a key is taken.
      this.addSql(`do $$
        declare
          named record;
          slug text;
          candidate text;
          suffix int;
        begin
          for named in select t.id, t.name from ${table} t order by t.id loop
            slug := left(regexp_replace(regexp_replace(lower(regexp_replace(normalize(named.name, nfkd), '[\u0300-\u036f]', '', 'g')),
              '[^a-z0-9_-]+', '-', 'g'), '^[-_]+|-+$', '', 'g'), 90);
            if slug = '' then
              slug := '${fallback}';
            elsif slug ~ '^[0-9]+$' or slug in ('new', 'overview', 'check-eligibility', 'preview', 'assign-user',
              'unassign-user', 'assign-experiment', 'unassign-experiment', 'evaluate', 'explain') then
              slug := '${fallback}-' || slug;
            end if;
            candidate := slug;
            suffix := 1;
            while exists (select 1 from ${table} t where t.key = candidate) loop
              suffix := suffix + 1;
              candidate := slug || '-' || suffix;
            end loop;
            update ${table} t set key = candidate where t.id = named.id;
          end loop;
        end $$`)
      this.addSql(`alter table ${table} alter column key set not null, add constraint ${table}_key_unique unique (key)`)
    }
    this.addSql(`alter table experiments add column owner text, add column tags text[] not null default '{}'`)
  }
}
