import cluster from 'node:cluster'
import { once } from 'node:events'
import { pino } from 'pino'
import pretty from 'pino-pretty'
import { type App, createApp } from './app.ts'
import { type Config, readConfig } from './config.ts'
import { awaitDatabase } from './database/await-database.ts'
import { migrate } from './database/migrate.ts'
import { openDatabase } from './database/orm.ts'
import { onParentEnd } from './parent.ts'
import { listenFault, StartFault } from './start-fault.ts'

const EXIT_AFTER_MS = 10_000
const RESTART_AFTER_MS = 1000
/** The message by which the first process asks its workers to drain. */
const DRAIN = 'drain'

const config = configOrExit()
const log = pino({ level: config.logLevel, redact: ['req.headers.authorization'] }, terminalOrJson())
if (config.workers > 1 && cluster.isPrimary) await lead()
else await serve()

function configOrExit(): Config {
  try {
    return readConfig(process.env)
  } catch (error) {
    console.error((error as Error).message)
    process.exit(1)
  }
}

function terminalOrJson() {
  return process.stdout.isTTY ? pretty({ sync: true, ignore: 'pid,hostname' }) : pino.destination(1)
}

/** Runs one process: starts the platform, prints its addresses, and drains on a signal or the leader's message. */
async function serve() {
  let app: App | undefined
  const listenForTheEnd = cluster.isWorker ? onLeader : onSignal
  listenForTheEnd(async () => app?.close())
  try {
    app = await createApp(config, log)
    app.watchDatabase((fault) => {
      log.fatal(`${fault}: the process ends. Free disk space if there is none left, and start the platform again`)
      process.exit(1)
    })
    await app.http.listen({ host: config.host, port: config.port })
    if (!cluster.isWorker) announce(app.http.listeningOrigin)
  } catch (error) {
    cannotStart(error)
  }
}

/** Says in one sentence why the platform cannot start; an unexpected error is logged with its stack. */
function cannotStart(error: unknown): never {
  const sentence = error instanceof StartFault ? error.message : listenFault(error, config.host, config.port)
  if (sentence === null) log.fatal({ err: error }, 'The platform cannot start; the process ends')
  else log.fatal(sentence)
  process.exit(1)
}

/** Runs the first of several processes: migrates the database once, starts the workers, and replaces any that dies. */
async function lead() {
  try {
    const database = await openDatabase({ url: config.databaseUrl, pool: 2 })
    await awaitDatabase(database, config.databaseUrl, (message) => log.info(message))
    await migrate(database, config.timeZone, (message) => log.info(message))
    await database.close()
  } catch (error) {
    cannotStart(error)
  }
  let stopping = false
  /** True once all workers have listened; from then on each worker that dies is replaced. */
  let started = false
  const listened = new Set<number>()
  for (let worker = 0; worker < config.workers; worker++) cluster.fork()
  cluster.on('listening', (worker) => {
    listened.add(worker.id)
    if (started || listened.size < config.workers) return
    started = true
    announce(`http://${config.host}:${config.port}`)
  })
  cluster.on('exit', (worker, code, signal) => {
    if (stopping) return
    if (!started) {
      log.fatal({ pid: worker.process.pid, code, signal }, 'A worker cannot start: all processes end')
      for (const other of Object.values(cluster.workers ?? {})) other?.process.kill('SIGKILL')
      process.exit(1)
    }
    log.error({ pid: worker.process.pid, code, signal }, 'A worker died: another starts in a second')
    setTimeout(() => {
      if (!stopping) cluster.fork()
    }, RESTART_AFTER_MS)
  })
  onSignal(async () => {
    stopping = true
    const workers = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined)
    await Promise.all(
      workers.map((worker) => {
        const ended = once(worker, 'exit')
        if (worker.isConnected()) worker.send(DRAIN, () => {})
        return ended
      }),
    )
  })
}

/** Returns a function that drains and then exits, after 10 seconds at the latest. */
function drainer(drain: () => Promise<void>) {
  return (reason: string) => {
    log.info(`${reason}: draining`)
    setTimeout(() => {
      log.error(`Draining takes longer than ${EXIT_AFTER_MS / 1000} seconds; the process ends`)
      process.exit(1)
    }, EXIT_AFTER_MS).unref()
    drain().then(
      () => process.exit(0),
      (error) => {
        log.error({ err: error }, 'Draining failed; the process ends')
        process.exit(1)
      },
    )
  }
}

/** Drains at the first SIGTERM or SIGINT. A second signal forces the exit, and so do 10 seconds. */
function onSignal(drain: () => Promise<void>) {
  const start = drainer(drain)
  let draining = false
  const stop = (signal: NodeJS.Signals) => {
    if (draining) process.exit(1)
    draining = true
    start(signal)
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  onParentEnd(process.env, () => {
    if (draining) return
    draining = true
    start('npm has ended')
  })
}

/**
 * Drains a worker when the first process sends DRAIN or ends. The worker ignores signals itself, because a signal to
 * the whole process group also reaches the first process.
 */
function onLeader(drain: () => Promise<void>) {
  const start = drainer(drain)
  let draining = false
  const stop = (reason: string) => {
    if (!draining) start(reason)
    draining = true
  }
  process.on('SIGTERM', () => {})
  process.on('SIGINT', () => {})
  process.on('message', (message) => {
    if (message === DRAIN) stop('The first process stops')
  })
  process.on('disconnect', () => stop('The first process has ended'))
}

function announce(origin: string) {
  const base = origin.replace('0.0.0.0', 'localhost')
  const database = config.databaseUrl.startsWith('pglite:')
    ? `embedded PostgreSQL in ${config.databaseUrl.slice('pglite:'.length) || 'memory'}`
    : 'PostgreSQL'
  const ready = `The experimentation platform is ready at ${base}`
  const addresses = {
    REST: `${base}/api/experiments`,
    docs: `${base}/docs  (the document: ${base}/openapi.json)`,
    tRPC: `${base}/trpc`,
    OFREP: `${base}/ofrep/v1`,
    health: `${base}/health/ready`,
    storage: `${database}, ${config.redisUrl ? 'Redis' : 'caches in the process'}`,
    'first key':
      config.keyManagement === 'open'
        ? `curl -X POST ${base}/api/auth/keys -H 'Content-Type: application/json' -d '{"name": "my_api_key"}'`
        : `needs the ADMIN_TOKEN: POST ${base}/api/auth/keys`,
  }
  // Programs read JSON, so the addresses are fields of one line there.
  if (!process.stdout.isTTY) return log.info({ addresses }, ready)
  console.log([ready, ...Object.entries(addresses).map(([name, text]) => `  ${name.padEnd(10)} ${text}`)].join('\n'))
}
