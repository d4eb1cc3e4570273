import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import { lock } from './locks.ts'
import { isUnfinished, migrate, migrateTarget, UNFINISHED } from './migrate.ts'
import type { Database } from './orm.ts'

/** Copies a whole database into an empty one, from the embedded database to PostgreSQL or between any two. */

/** About as many characters are read and written at once. */
const BATCH_CHARACTERS = 4_000_000
const BATCH_ROWS = 5000

/** The tables that hold rows from the first start on. Rows of any other table are somebody's data. */
const SEEDED = [
  'platform',
  'people_state',
  'fold_state',
  'event_types',
  'event_key_generations',
  'measures',
  'measure_parts',
]
/** The tables that are not copied: the target has its own. */
const OWN = ['mikro_orm_migrations', UNFINISHED]

/** Rows of a table that were copied so far, in this run or an earlier one. */
export type MoveProgress = { table: string; copied: number; rows: number }

/** The row of the mark. `is_ready`: the target is migrated and without rows, so that rows may be copied. */
type Mark = { source: string; version: string; is_ready: boolean }
type Column = { name: string; type: string; isKey: boolean; isText: boolean }
type Table = { name: string; columns: Column[] }

/**
 * Copies all rows of `from` into `to`. Rows are copied in the order of their primary keys, so that a move that was
 * interrupted goes on where it stopped when it is started again. Until it is done, no platform starts on the target.
 * @param say receives what happens before and after the rows are copied
 * @throws Error when the target holds anything else, when a platform uses one of the databases, and when afterwards the
 *   numbers of rows differ
 */
export async function moveDatabase(
  from: Database,
  to: Database,
  onProgress: (progress: MoveProgress) => void = () => {},
  say: (message: string) => void = () => {},
): Promise<MoveProgress[]> {
  for (const [database, name] of [
    [from, '--from'],
    [to, '--to'],
  ] as const)
    await refuseWhileUsed(database, name)
  say('Migrating both databases to this version …')
  await migrate(from, undefined)
  await prepare(from.orm, to)
  const tables = await readTables(from.orm)
  await copyPartitions(from.orm, to.orm)
  const moved: MoveProgress[] = []
  for (const table of tables) {
    await to.orm.em.fork().execute(`alter table ${quoted(table.name)} disable trigger user`)
    moved.push(await copyTable(from.orm, to.orm, table, onProgress))
  }
  say('Counting the rows of both databases …')
  await compareCounts(to.orm, moved)
  // Within a transaction, all entity managers would use the connection of the transaction.
  const sequences = await sequencesOf(from.orm)
  await to.orm.em.fork().transactional(async (em) => {
    for (const { name } of tables) await em.execute(`alter table ${quoted(name)} enable trigger user`)
    for (const { name, value, called } of sequences)
      await em.execute('select setval(?::regclass, ?::bigint, ?)', [quoted(name), value, called])
    await em.execute(`drop table ${UNFINISHED}`)
  })
  await migrate(to, undefined)
  await to.orm.em.fork().execute('analyze')
  return moved
}

const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`
const literals = (names: readonly string[]) => names.map((name) => `'${name}'`).join()
const listed = (names: readonly string[]) => names.map(quoted).join(', ')

/** Only one process has an embedded database, whose folder is locked. */
async function refuseWhileUsed({ orm, embedded }: Database, name: string) {
  if (embedded) return
  const [{ others = 0 } = {}] = await orm.em.fork().execute<{ others: number }[]>(
    `select count(*)::int as others from pg_stat_activity a where a.datname = current_database()
       and a.application_name = 'experimentation-platform' and a.pid <> pg_backend_pid()`,
  )
  if (others > 0) throw new Error(`A platform is connected to the database of ${name}; stop it before the move.`)
}

/**
 * Makes the target ready: marked as unfinished, migrated, and without rows. The mark comes first, so that a platform
 * never starts on empty tables of a move that was interrupted here. A move that goes on does what is left of this.
 */
async function prepare(from: MikroORM, to: Database) {
  const identityOf = async (orm: MikroORM) =>
    (await orm.em.fork().execute<{ identity: string }[]>('select p.identity::text as identity from platform p'))[0]
      ?.identity
  const source = await identityOf(from)
  const version = await versionOf(from)
  const em = to.orm.em.fork()
  if (await isUnfinished(em)) {
    const [begun] = await em.execute<Mark[]>(`select * from ${UNFINISHED}`)
    if (begun?.source !== source)
      throw new Error('The database of --to holds the unfinished move of another database; use an empty one.')
    if (begun?.version !== version)
      throw new Error('The move was begun by another version of the platform; begin again with an empty database.')
    if (begun?.is_ready) return
  } else {
    // Other programs may have tables here, too. Nothing is changed before it is known that no table holds data.
    await expectNoRows(em)
    await em.transactional(async (inner) => {
      await lock(inner, 'migration')
      const mark = 'select ?::text as source, ?::text as version, false as is_ready'
      await inner.execute(`create table ${UNFINISHED} as ${mark}`, [source, version])
    })
  }
  await migrateTarget(to, undefined)
  const tables = await readTables(to.orm)
  await em.transactional(async (inner) => {
    await inner.execute(`truncate ${listed(tables.map(({ name }) => name))}`)
    await inner.execute(`update ${UNFINISHED} set is_ready = true`)
  })
}

/** @throws Error naming a table of the schema that holds data, of the platform or of anybody else */
async function expectNoRows(em: EntityManager) {
  const names = await em.execute<{ name: string }[]>(
    `select c.relname as name from pg_class c
     where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
       and c.relname <> all (array[${literals([...OWN, ...SEEDED])}]) order by c.relname`,
  )
  for (const { name } of names) {
    const [row] = await em.execute(`select true as found from ${quoted(name)} limit 1`)
    if (row) throw new Error(`The database of --to is not empty: it has rows in ${name}. Use an empty database.`)
  }
}

const versionOf = async (orm: MikroORM) =>
  (
    await orm.em
      .fork()
      .execute<{ name: string }[]>('select m.name from mikro_orm_migrations m order by m.id desc limit 1')
  )[0]?.name

/** Reads the tables, each one after those that it refers to, with the columns that can be written. */
async function readTables(orm: MikroORM): Promise<Table[]> {
  const em = orm.em.fork()
  const tables = await em.execute<Table[]>(`
    select c.relname as name, json_agg(json_build_object(
        'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'isText', a.attcollation <> 0,
        'isKey', a.attnum = any(k.conkey)) order by array_position(k.conkey, a.attnum), a.attnum) as columns
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    join pg_constraint k on k.conrelid = c.oid and k.contype = 'p'
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
      and c.relname <> all (array[${literals(OWN)}])
    group by c.relname order by c.relname`)
  const references = await em.execute<{ of: string; to: string }[]>(`
    select c.relname as of, other.relname as to from pg_constraint k
    join pg_class c on c.oid = k.conrelid join pg_class other on other.oid = k.confrelid
    where k.contype = 'f' and c.oid <> other.oid and c.relnamespace = 'public'::regnamespace`)
  const sorted: Table[] = []
  while (sorted.length < tables.length) {
    const isReady = ({ name }: Table) =>
      !sorted.some((done) => done.name === name) &&
      references.every(({ of, to }) => of !== name || sorted.some((done) => done.name === to))
    const ready = tables.filter(isReady)
    if (ready.length === 0) throw new Error('Tables refer to one another in a circle.')
    sorted.push(...ready)
  }
  return sorted
}

/** Creates the partitions of the source that the target has not. */
async function copyPartitions(from: MikroORM, to: MikroORM) {
  const partitions = await from.em.fork().execute<{ name: string; parent: string; bound: string }[]>(`
    select c.relname as name, parent.relname as parent, pg_get_expr(c.relpartbound, c.oid) as bound
    from pg_class c join pg_inherits i on i.inhrelid = c.oid join pg_class parent on parent.oid = i.inhparent
    where c.relispartition and c.relkind = 'r' and c.relnamespace = 'public'::regnamespace order by c.relname`)
  for (const { name, parent, bound } of partitions)
    await to.em.fork().execute(`create table if not exists ${quoted(name)} partition of ${quoted(parent)} ${bound}`)
}

async function copyTable(
  from: MikroORM,
  to: MikroORM,
  { name, columns }: Table,
  onProgress: (progress: MoveProgress) => void,
): Promise<MoveProgress> {
  const table = quoted(name)
  const keys = columns.filter(({ isKey }) => isKey)
  // Databases may sort text differently. Rows that refer to rows of their own table are copied in one statement.
  const sorted = (column: Column) => `${quoted(column.name)}${column.isText ? ' collate "C"' : ''}`
  const order = (direction: string) => keys.map((column) => `${sorted(column)} ${direction}`).join(', ')
  const written = listed(columns.map((column) => column.name))
  const keyAsText = `json_build_array(${keys.map((column) => `${quoted(column.name)}::text`).join(', ')})`
  const rows = await countOf(from, table)
  let copied = await countOf(to, table)
  let limit = (await refersToItself(from, name)) ? Math.max(1, rows) : 100
  let [last] = await to.em
    .fork()
    .execute<{ key: string[] }[]>(`select ${keyAsText} as key from ${table} order by ${order('desc')} limit 1`)
  onProgress({ table: name, copied, rows })
  for (;;) {
    const after = last
      ? `where (${keys.map(sorted).join(', ')}) > (${keys.map(({ type }) => `?::text::${type}`).join(', ')})`
      : ''
    const [batch] = await from.em.fork().execute<{ count: number; rows: string | null; key: string[] | null }[]>(
      `with batch as materialized (
         select ${written} from ${table} ${after} order by ${order('asc')} limit ${limit})
       select (select count(*)::int from batch) as count, (select json_agg(b)::text from batch b) as rows,
         (select ${keyAsText} from batch order by ${order('desc')} limit 1) as key`,
      last?.key ?? [],
    )
    if (!batch?.rows || !batch.key) break
    await to.em.fork().execute(
      `insert into ${table} (${written}) overriding system value
           select ${written} from json_populate_recordset(null::${table}, ?::text::json)`,
      [batch.rows],
    )
    copied += batch.count
    last = { key: batch.key }
    limit = Math.max(1, Math.min(BATCH_ROWS, Math.floor((batch.count * BATCH_CHARACTERS) / batch.rows.length)))
    onProgress({ table: name, copied, rows })
  }
  return { table: name, copied, rows }
}

async function countOf(orm: MikroORM, table: string): Promise<number> {
  const [row] = await orm.em.fork().execute<{ count: string }[]>(`select count(*)::text as count from ${table}`)
  return Number(row?.count)
}

async function refersToItself(orm: MikroORM, name: string): Promise<boolean> {
  const found = await orm.em
    .fork()
    .execute(
      `select 1 from pg_constraint k where k.contype = 'f' and k.conrelid = k.confrelid and k.conrelid = ?::regclass`,
      [quoted(name)],
    )
  return found.length > 0
}

/** @throws Error when a table of the target has another number of rows than the source had */
async function compareCounts(to: MikroORM, moved: readonly MoveProgress[]) {
  for (const { table, rows } of moved) {
    const count = await countOf(to, quoted(table))
    if (count !== rows)
      throw new Error(`${table} has ${rows} rows in the database of --from and ${count} in that of --to.`)
  }
}

async function sequencesOf(orm: MikroORM): Promise<{ name: string; value: string; called: boolean }[]> {
  const em = orm.em.fork()
  const names = await em.execute<{ name: string }[]>(
    `select c.relname as name from pg_class c where c.relkind = 'S' and c.relnamespace = 'public'::regnamespace
       and c.relname not like 'mikro_orm%'`,
  )
  const sequences = []
  for (const { name } of names) {
    const [state] = await em.execute<{ value: string; called: boolean }[]>(
      `select s.last_value::text as value, s.is_called as called from ${quoted(name)} s`,
    )
    if (state) sequences.push({ name, ...state })
  }
  return sequences
}
