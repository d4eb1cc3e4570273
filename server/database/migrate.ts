import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import { StartFault } from '../start-fault.ts'
import { lock } from './locks.ts'
import type { Database } from './orm.ts'
import { continueTransactionIds } from './transaction-ids.ts'

/** The table that marks the target of a move, from before its first table is created until the move is done. */
export const UNFINISHED = 'unfinished_move'

/**
 * Migrates the schema to the present version and ensures that the row of the platform exists. Many processes may call
 * this at the same time: one migrates while the others wait for a transaction-level advisory lock, which also works
 * through PgBouncer in transaction mode.
 * @param timeZone the IANA time zone in which days begin, fixed when the database is created; default: UTC
 * @param say receives a message when there is something to migrate
 * @throws StartFault when the database was created with another time zone, was migrated by a newer version of the
 *   platform, or is the target of an unfinished move
 */
export async function migrate(
  database: Pick<Database, 'orm' | 'embedded'>,
  timeZone: string | undefined,
  say: (message: string) => void = () => {},
) {
  if (await isUnfinished(database.orm.em.fork()))
    throw new StartFault(
      'This database is the target of an unfinished move: run npm run move again with the same --from and --to, ' +
        'or set DATABASE_URL to the database of --from',
    )
  await migrateTarget(database, timeZone, say)
}

/** True when a move into the database was begun and is not done. */
export async function isUnfinished(em: EntityManager): Promise<boolean> {
  const [row] = await em.execute<{ found: boolean }[]>('select to_regclass(?) is not null as found', [UNFINISHED])
  return row?.found ?? false
}

/** Migrates as `migrate` does, also the target of an unfinished move. */
export async function migrateTarget(
  { orm, embedded }: Pick<Database, 'orm' | 'embedded'>,
  timeZone: string | undefined,
  say: (message: string) => void = () => {},
) {
  let isMigrating = false
  orm.migrator.on('migrating', () => {
    if (!isMigrating) say('Migrating the database …')
    isMigrating = true
  })
  // The embedded database has one connection, and its folder is locked already.
  if (embedded) await orm.migrator.up()
  await orm.em.fork().transactional(async (em) => {
    if (!embedded) {
      await lock(em, 'migration')
      const transaction = em.getTransactionContext()
      await orm.migrator.up(transaction ? { transaction } : {})
    }
    await expectKnownMigrations(orm, em)
    await continueTransactionIds(em)
    await em.execute('insert into platform (id, time_zone) values (1, ?) on conflict (id) do nothing', [
      timeZone ?? 'UTC',
    ])
    const [platform] = await em.execute<{ time_zone: string }[]>('select p.time_zone from platform p')
    if (timeZone && platform && platform.time_zone !== timeZone)
      throw new StartFault(
        `TIME_ZONE is ${timeZone}, but this database was created with ${platform.time_zone}, ` +
          'and days that are counted already cannot be divided again. ' +
          `Set TIME_ZONE to ${platform.time_zone} or leave it out.`,
      )
  })
}

/** @throws StartFault if the database has a migration of a newer version, whose tables this version would misread */
async function expectKnownMigrations(orm: MikroORM, em: EntityManager) {
  const known = orm.config.get('migrations').migrationsList?.map((migration) => (migration as { name: string }).name)
  const done = await em.execute<{ name: string }[]>('select m.name from mikro_orm_migrations m order by m.id')
  const newer = done.filter(({ name }) => !known?.includes(name))
  if (newer.length > 0)
    throw new StartFault(
      `A newer version of the platform has migrated this database (${newer.map(({ name }) => name).join(', ')}): ` +
        'start that version, or restore the backup that was made before the upgrade.',
    )
}
