import { expect, test } from 'vitest'
import { onEachDatabase } from '../support/app.ts'

onEachDatabase('the schema', (app) => {
  test('of the migrations is the schema that the entities describe', async () => {
    const { orm } = app().platform
    const difference = await orm.schema.getUpdateSchemaSQL({ wrap: false })
    // Only the migrations create triggers, functions and monthly partitions: no entity describes them.
    const own = /^(drop trigger|drop function|drop table if exists "(events_\d{4}_\d\d|event_keys_\d+)")/
    const statements = difference
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '' && !own.test(line))
    expect(statements).toEqual([])
  })

  test('has no foreign keys on the tables of assignments, events and totals', async () => {
    const keys = await app()
      .platform.orm.em.fork()
      .execute(
        `select c.conname from pg_constraint c
         where c.contype = 'f' and c.conrelid::regclass::text in ('assignments', 'events', 'event_keys')`,
      )
    expect(keys).toEqual([])
  })
})
