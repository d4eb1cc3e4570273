import type { Socket } from 'node:net'
import cors from '@fastify/cors'
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import type { Logger } from 'pino'
import { lookAt } from './alerts/looks.ts'
import { createAlertMonitor } from './alerts/monitor.ts'
import { createAssignmentMemory } from './assignments/memory.ts'
import { createAssignmentWriter } from './assignments/writer.ts'
import { createKeyRing } from './auth/key-ring.ts'
import { createCache } from './cache/cache.ts'
import { type Config, DEFAULT_DATABASE_URL } from './config.ts'
import type { Platform } from './context.ts'
import { awaitDatabase } from './database/await-database.ts'
import { createConcurrencyLimit } from './database/concurrency-limit.ts'
import { migrate } from './database/migrate.ts'
import { type Database, openDatabase } from './database/orm.ts'
import { createPoller } from './database/poller.ts'
import { createAudited, createDefine } from './definitions/define.ts'
import { createMembersNotice } from './definitions/members-notice.ts'
import { beginHistory, readIdentity } from './definitions/queries.ts'
import { createResolveNames } from './definitions/references.ts'
import { createWatch } from './definitions/watch.ts'
import { createMaintenance } from './events/maintenance.ts'
import { createRecorder } from './events/recorder.ts'
import { decideByStored } from './events/stored.ts'
import { createEventTail } from './events/tail.ts'
import { createDeletion } from './experiments/deletion.ts'
import { createSchedule } from './experiments/schedule.ts'
import { createStarter } from './experiments/starter.ts'
import { corsOptions } from './http/cors.ts'
import { docsRoutes } from './http/docs.ts'
import { decodeBodies } from './http/encoding.ts'
import { createEventStreams } from './http/event-streams.ts'
import { EXPORT_INPUTS, exportRoutes } from './http/exports.ts'
import { answerMalformed, handleFaults, sendFault } from './http/faults.ts'
import { healthRoutes } from './http/health.ts'
import { limitIntake } from './http/intake.ts'
import { parseBatch, parseJson, readJson } from './http/json.ts'
import { ofrepRoutes, sendOfrepFault, undecodedKey } from './http/ofrep.ts'
import { announcePreference } from './http/preferences.ts'
import { inputsWithNames } from './http/procedures.ts'
import { logRequests, requestIdOf } from './http/request-ids.ts'
import { restRoutes } from './http/rest.ts'
import { answerShortly } from './http/short-path.ts'
import { trpcRoutes } from './http/trpc.ts'
import { uploadRoutes } from './http/uploads.ts'
import { measureQuantiles } from './metrics/store.ts'
import { createFreezer } from './results/freeze.ts'
import { StartFault } from './start-fault.ts'
import { createTotals } from './totals/worker.ts'
import { createAliasWriter, createForget } from './users/aliases.ts'
import { createProfileCache } from './users/profile-cache.ts'

const BODY_BYTES = 1024 * 1024
const DRAIN_POLL_MS = 20
const EVENT_BATCH = '/api/events/batch'
/** The embedded database has one connection. Two answers about results share a pass of the fold. */
const EMBEDDED_AT_ONCE = 2
/** Connections of the pool that only decisions, events and totals use. */
const RESERVED_CONNECTIONS = 4
/** A user id has up to 256 characters of 12 bytes when percent-encoded; a tRPC batch names up to 100 procedures. */
const MAX_PARAM_LENGTH = 8192

export type App = {
  platform: Platform
  http: FastifyInstance
  watchDatabase: Database['watch']
  close: () => Promise<void>
}

/**
 * Opens the database, Redis and HTTP, and connects all parts of the platform. Does not listen. `close` closes the parts
 * in the reverse order.
 * @param image the dump from which an embedded database in memory starts, made by `dumpImage`
 * @throws Error when the database cannot be opened or migrated; everything opened until then is closed
 */
export async function createApp(config: Config, log: Logger, image?: Blob): Promise<App> {
  const database = await openDatabase({
    url: config.databaseUrl,
    pool: config.databasePool,
    createFolder: config.databaseUrl === DEFAULT_DATABASE_URL,
    image,
    warn: (message) => log.debug(message),
    say: (message) => log.info(message),
  })
  const { orm } = database
  const closers: (() => Promise<unknown> | unknown)[] = [database.close]
  const closeAll = async () => {
    for (let closer = closers.pop(); closer; closer = closers.pop()) {
      try {
        await closer()
      } catch (error) {
        log.warn({ err: error }, 'A part of the platform failed to close; the other parts are closed nevertheless')
      }
    }
  }
  try {
    await awaitDatabase(database, config.databaseUrl, (message) => log.info(message))
    await migrate(database, config.timeZone, (message) => log.info(message))
    await beginHistory(orm.em.fork())
    await orm.em.fork().transactional(measureQuantiles)
    const { identity, time_zone: timeZone, stream_secret: streamSecret } = await readIdentity(orm.em.fork())
    const cache = createCache({ url: config.redisUrl, namespace: identity, log })
    closers.push(cache.close)
    const refusal = await cache.opened()
    if (refusal !== null) throw new StartFault(refusal)

    const watch = await createWatch({ orm, cache, log })
    closers.push(watch.close)
    const audited = createAudited(orm)
    const define = createDefine({ audited, cache, watch })
    const starter = createStarter(define)
    const schedule = createSchedule({ orm, watch, define, log })
    closers.push(schedule.close)

    const keyRing = createKeyRing({ orm, cache, adminToken: config.adminToken, log })
    closers.push(keyRing.close)
    const profiles = createProfileCache({ orm, cache, watch })
    const memory = createAssignmentMemory({ orm, cache, watch })
    // The groups of writes at once. A group that arrives during a commit need not wait for its end: where a commit
    // takes 6 ms, the median of first decisions at 16 connections is 10 ms with three groups and 17 ms with one.
    const concurrency = database.embedded ? 1 : 3
    const writer = createAssignmentWriter({ orm, memory, watch, concurrency })
    const recorder = createRecorder({ orm, concurrency })
    const forget = createForget({ profiles, memory, cache, watch })
    const aliasWriter = createAliasWriter({ orm, forget })
    closers.push(writer.drained, recorder.drained, aliasWriter.drained)

    const totals = createTotals({ orm, embedded: database.embedded, timeZone, log })
    closers.push(totals.close)
    const gathering = { totals, timeZone }
    const look = async (experimentId: number, runNumber: number) => {
      await lookAt(orm, gathering, experimentId, runNumber, false)
    }
    const reporting = { ...gathering, look }
    const maintenance = createMaintenance({ orm, retentionDays: config.eventRetentionDays, log })
    closers.push(maintenance.close)
    const deletion = createDeletion({ orm, log })
    closers.push(deletion.close)
    const alertMonitor = createAlertMonitor({ orm, gathering, define, log })
    closers.push(alertMonitor.close)
    const freezer = createFreezer({ orm, reporting, log })
    closers.push(freezer.close)

    const concurrencyLimit = createConcurrencyLimit(
      database.embedded ? EMBEDDED_AT_ONCE : Math.max(1, config.databasePool - RESERVED_CONNECTIONS),
    )
    const platform: Platform = {
      config,
      log,
      orm,
      cache,
      streamSecret,
      concurrencyLimit,
      keyRing,
      definitions: { watch, audited, define, membersChanged: createMembersNotice({ orm, cache, watch }) },
      resolveNames: createResolveNames({ orm, watch, inputs: inputsWithNames(EXPORT_INPUTS) }),
      users: { profiles, aliasWriter, forget },
      deciding: { watch, profiles, memory, writer, starter },
      recording: { watch, profiles, memory, recorder, starter },
      decideByStored,
      reporting,
      following: { orm, keyRing, poller: createPoller() },
      eventTail: createEventTail({ orm, concurrencyLimit }),
      jobs: { maintenance, freezer, alertMonitor, deletion },
    }
    const http = await createHttp(platform)
    closers.push(() => http.close())
    return { platform, http, watchDatabase: database.watch, close: closeAll }
  } catch (error) {
    await closeAll()
    throw error
  }
}

async function createHttp(platform: Platform): Promise<FastifyInstance> {
  const { config, log } = platform
  let ready = false
  const http = Fastify({
    loggerInstance: log as FastifyBaseLogger,
    // Single requests are not logged, so a logger for each request would cost time for nothing.
    childLoggerFactory: (logger) => logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_BYTES,
    genReqId: requestIdOf,
    forceCloseConnections: 'idle',
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: MAX_PARAM_LENGTH },
    clientErrorHandler: answerMalformed,
    frameworkErrors: (error, { url }, reply) => {
      const key = undecodedKey(url)
      if (key === undefined) sendFault(reply, log, error)
      else sendOfrepFault(platform, key, reply, error)
    },
  })
  http.addHook('onReady', async () => {
    ready = true
  })
  const streams = createEventStreams({ watch: platform.definitions.watch, keyRing: platform.keyRing })
  const connections = new Set<Socket>()
  http.server.on('connection', (socket: Socket) => {
    connections.add(socket)
    socket.once('close', () => connections.delete(socket))
  })
  http.addHook('preClose', async () => {
    ready = false
    streams.close()
    platform.eventTail.close()
    platform.following.poller.close()
    // Browsers open connections ahead of use. Node does not count a connection without a request as idle, so closing
    // the server would wait for it.
    for (const socket of connections) if (socket.bytesRead === 0) socket.destroy()
    // A connection that is busy now becomes idle later, and would then be kept alive.
    const closing = setInterval(() => http.server.closeIdleConnections(), DRAIN_POLL_MS)
    http.server.once('close', () => clearInterval(closing))
  })
  logRequests(http, log)
  handleFaults(http)
  limitIntake(http)
  announcePreference(http)
  decodeBodies(http)
  readJson(http, (bytes, { routeOptions }) => (routeOptions.url === EVENT_BATCH ? parseBatch(bytes) : parseJson(bytes)))
  if (config.corsOrigins.length > 0) await http.register(cors, corsOptions(config.corsOrigins))
  healthRoutes(http, platform, () => ready)
  await docsRoutes(http)
  http.register(async (scope) => restRoutes(scope, platform), { prefix: '/api' })
  http.register(async (scope) => exportRoutes(scope, platform), { prefix: '/api' })
  http.register(async (scope) => uploadRoutes(scope, platform), { prefix: '/api' })
  http.register(async (scope) => trpcRoutes(scope, platform))
  http.register(async (scope) => ofrepRoutes(scope, platform, streams), { prefix: '/ofrep/v1' })
  await http.ready()
  // The log of requests at the level debug holds every request.
  if (!log.isLevelEnabled('debug')) answerShortly(http.server, platform, () => ready)
  return http
}
