import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Migrator } from '@mikro-orm/migrations'
import type { PgliteConnection } from '@mikro-orm/pglite'
import { MikroORM } from '@mikro-orm/sql'
import { Alert } from '../alerts/entity.ts'
import { Assignment, Override } from '../assignments/entity.ts'
import { ApiKey } from '../auth/entity.ts'
import {
  AuditEntry,
  DefinitionHistory,
  EvaluationKey,
  FlagHistory,
  PersonChange,
  PlatformState,
  ProfilesState,
} from '../definitions/entity.ts'
import { EventKey, EventKeyGeneration, EventType, RecordedEvent } from '../events/entity.ts'
import { ExcludedUnit } from '../exclusions/entity.ts'
import {
  AllocationPeriod,
  DeletedRun,
  Experiment,
  ExperimentSegment,
  Layer,
  Run,
  Variant,
} from '../experiments/entity.ts'
import { Flag } from '../flags/entity.ts'
import { ExperimentMetric, Metric, MetricVersion } from '../metrics/entity.ts'
import { FrozenResult, RunDecision, RunLook } from '../results/entity.ts'
import { Segment, UserSegment } from '../segments/entity.ts'
import {
  EventQuarter,
  ExposureHour,
  Measure,
  MeasurePart,
  RunMetric,
  Unit,
  UnitMetric,
  UserDay,
  VariantMetrics,
  VariantUnits,
} from '../totals/entity.ts'
import { FoldEntry, FoldState } from '../totals/fold-entity.ts'
import { Alias, DrawId, User } from '../users/entity.ts'
import { expectEmptyFolder, lockFolder } from './folder-lock.ts'
import { Migration0001Foundation } from './migrations/0001-foundation.ts'
import { Migration0002Deciding } from './migrations/0002-deciding.ts'
import { Migration0003Flags } from './migrations/0003-flags.ts'
import { Migration0004Totals } from './migrations/0004-totals.ts'
import { Migration0005Metrics } from './migrations/0005-metrics.ts'
import { Migration0006Numbers } from './migrations/0006-numbers.ts'
import { Migration0007Looks } from './migrations/0007-looks.ts'
import { Migration0008Crossovers } from './migrations/0008-crossovers.ts'
import { Migration0009Values } from './migrations/0009-values.ts'
import { Migration0010Digests } from './migrations/0010-digests.ts'
import { Migration0011Deletion } from './migrations/0011-deletion.ts'
import { Migration0012Names } from './migrations/0012-names.ts'
import { Migration0013PeopleAndRules } from './migrations/0013-people-and-rules.ts'
import { Migration0014MemberChanges } from './migrations/0014-member-changes.ts'
import { Migration0015UndoneJoins } from './migrations/0015-undone-joins.ts'
import { openPglite } from './pglite-client.ts'
import { driverFor } from './pglite-driver.ts'
import { ReleasingPostgreSqlDriver } from './postgresql-driver.ts'
import { driverOptions } from './url.ts'

/** A query that takes longer fails, because the database is then frozen or unreachable. */
const QUERY_TIMEOUT_MS = 30_000

const entities = [
  PlatformState,
  ProfilesState,
  PersonChange,
  AuditEntry,
  DefinitionHistory,
  FlagHistory,
  EvaluationKey,
  ApiKey,
  User,
  Alias,
  DrawId,
  Segment,
  UserSegment,
  Layer,
  Experiment,
  Variant,
  ExperimentSegment,
  Run,
  AllocationPeriod,
  DeletedRun,
  Flag,
  Assignment,
  Override,
  RecordedEvent,
  EventKey,
  EventKeyGeneration,
  EventType,
  FoldState,
  FoldEntry,
  Measure,
  MeasurePart,
  RunMetric,
  UserDay,
  Unit,
  UnitMetric,
  VariantUnits,
  VariantMetrics,
  EventQuarter,
  ExposureHour,
  Metric,
  MetricVersion,
  ExperimentMetric,
  ExcludedUnit,
  FrozenResult,
  RunLook,
  RunDecision,
  Alert,
]

const migrations = [
  Migration0001Foundation,
  Migration0002Deciding,
  Migration0003Flags,
  Migration0004Totals,
  Migration0005Metrics,
  Migration0006Numbers,
  Migration0007Looks,
  Migration0008Crossovers,
  Migration0009Values,
  Migration0010Digests,
  Migration0011Deletion,
  Migration0012Names,
  Migration0013PeopleAndRules,
  Migration0014MemberChanges,
  Migration0015UndoneJoins,
]

/** An open database. */
export type Database = {
  orm: MikroORM
  embedded: boolean
  /** Calls back, once, when an embedded database has not answered for 30 seconds or its thread has died. */
  watch: (onFailure: (fault: string) => void) => void
  close: () => Promise<void>
}

/**
 * Opens the database that the URL names: `postgres://…`, `pglite:DIR` (embedded, in a folder) or `pglite:` (embedded,
 * in memory). Does not migrate.
 * @throws StartFault if another process uses the folder of an embedded database, or if the folder is missing or holds
 *   other files
 */
export async function openDatabase(options: {
  url: string
  pool: number
  /** The most milliseconds that a query may take on PostgreSQL; 0: no limit; default: 30 seconds. */
  queryTimeoutMs?: number
  /** Creates the folder of an embedded database if it is missing; default: a missing folder is a fault. */
  createFolder?: boolean
  /** The dump that an embedded database in memory starts from, made by `dumpImage`. */
  image?: Blob | undefined
  warn?: (message: string) => void
  /** Receives what the opening does if that may take seconds. */
  say?: (message: string) => void
}): Promise<Database> {
  const { warn = () => {}, say = () => {} } = options
  const shared = {
    entities,
    extensions: [Migrator],
    discovery: { warnWhenNoEntities: false },
    migrations: {
      migrationsList: migrations.map((migration) => ({ name: migration.name, class: migration })),
      snapshot: false,
      silent: true,
    },
    logger: (message: string) => warn(message),
    colors: false,
    forceUtcTimezone: true,
    schemaGenerator: { defaultUpdateRule: 'no action' as const },
  }
  if (!options.url.startsWith('pglite:')) {
    const orm = await MikroORM.init({
      ...shared,
      driver: ReleasingPostgreSqlDriver,
      clientUrl: options.url,
      // A database whose name is mistyped must be missed, not created.
      ensureDatabase: false,
      pool: { min: 0, max: options.pool },
      driverOptions: {
        connectionTimeoutMillis: 5000,
        query_timeout: options.queryTimeoutMs ?? QUERY_TIMEOUT_MS,
        keepAlive: true,
        application_name: 'experimentation-platform',
        ...driverOptions(options.url),
      },
    })
    return { orm, embedded: false, watch: () => {}, close: () => orm.close() }
  }
  const folder = options.url.slice('pglite:'.length)
  const dataDir = folder === '' ? 'memory://' : join(folder, 'postgres')
  const isNew = !existsSync(join(dataDir, 'PG_VERSION'))
  if (folder !== '' && isNew && !options.createFolder) expectEmptyFolder(folder)
  const unlock = folder === '' ? () => {} : lockFolder(folder)
  if (folder !== '') {
    say(isNew ? `Creating the database in ${folder} (a few seconds) …` : `Opening the database in ${folder} …`)
  }
  // The database opens in its thread while the ORM starts in this one.
  const opening = openPglite({ dataDir, image: folder === '' ? options.image : undefined })
  // A failure is reported where the opening is awaited.
  opening.catch(() => {})
  const close = async () => {
    const client = await opening.catch(() => null)
    if (client && !client.closed) await client.close()
    unlock()
  }
  try {
    const orm = await MikroORM.init({ ...shared, driver: driverFor(opening), dbName: dataDir })
    const client = await opening
    return {
      orm,
      embedded: true,
      watch: client.watch,
      close: async () => {
        await orm.close()
        await close()
      },
    }
  } catch (error) {
    await close()
    throw error
  }
}

/**
 * Dumps the data directory of an embedded database. A database in memory that starts from the dump starts in a fraction
 * of the time, because it is migrated already.
 */
export async function dumpImage({ orm }: Database): Promise<Blob> {
  const connection = orm.em.getConnection() as PgliteConnection
  return (await connection.getNativeClient()).dumpDataDir('none')
}
