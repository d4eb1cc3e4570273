import { Migration } from '@mikro-orm/migrations'

/** Adds flags, one namespace of keys for flags and experiments, and the history that streams of changes read. */
export class Migration0003Flags extends Migration {
  override up() {
    this.addSql(`create table flags (
      key text collate "C" primary key,
      type text not null,
      value_schema jsonb,
      default_value jsonb not null,
      rules jsonb not null default '[]',
      segment_ids int[] not null default '{}',
      experiment_ids int[] not null default '{}',
      enabled boolean not null default true,
      description text,
      owner text,
      tags text[] not null default '{}',
      expected_life_days int,
      version int not null default 1,
      created_at timestamptz not null default now_ms(),
      updated_at timestamptz not null default now_ms())`)

    // One row for each version; a deletion adds a row without a definition. Rows are appended and never change. A row
    // holds the segments that the flag reads when they differ from those of the row before.
    this.addSql(`create table flag_history (
      key text collate "C" not null,
      version int not null,
      "from" timestamptz not null,
      actor text not null,
      definition jsonb,
      segments jsonb,
      constraint flag_history_pkey primary key (key, version))`)

    this.addSql(`create table evaluation_keys (key text collate "C" primary key)`)
    this.addSql(`insert into evaluation_keys (key) select e.key from experiments e`)
    this.addSql(`create function claim_key() returns trigger language plpgsql as $$
      begin
        if tg_op <> 'INSERT' and (tg_op = 'DELETE' or new.key <> old.key) then
          delete from evaluation_keys k where k.key = old.key;
        end if;
        if tg_op <> 'DELETE' and (tg_op = 'INSERT' or new.key <> old.key) then
          insert into evaluation_keys (key) values (new.key);
        end if;
        return null;
      end $$`)
    for (const table of ['experiments', 'flags'])
      this.addSql(`create trigger ${table}_claim_key after insert or update of key or delete on ${table}
        for each row execute function claim_key()`)

    this.addSql(`alter table experiments add column payload_type text, add column payload_schema jsonb`)

    this.addSql(`alter table platform
      add column definitions_changed_at timestamptz not null default now_ms(),
      add column stream_secret text not null default (gen_random_uuid()::text || gen_random_uuid()::text)`)

    this.addSql(`create or replace function audit_change() returns trigger language plpgsql as $$
      declare
        before_row jsonb := case when tg_op = 'INSERT' then null else to_jsonb(old) - tg_argv[0]::text[] end;
        after_row jsonb := case when tg_op = 'DELETE' then null else to_jsonb(new) - tg_argv[0]::text[] end;
        row jsonb := coalesce(after_row, before_row);
      begin
        if before_row is distinct from after_row then
          insert into audit_log (actor, subject, subject_id, action, before, after) values (
            coalesce(nullif(current_setting('platform.actor', true), ''), 'platform'), tg_table_name,
            coalesce(row ->> 'id', row ->> 'experiment_id', row ->> 'key'), lower(tg_op), before_row, after_row);
        end if;
        return null;
      end $$`)
    this.addSql(`create trigger flags_audit after insert or update or delete on flags
      for each row execute function audit_change('{version,updated_at}')`)
  }
}
