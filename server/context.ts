import type { IncomingHttpHeaders } from 'node:http'
import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import type { Logger } from 'pino'
import type { AlertMonitor } from './alerts/monitor.ts'
import type { AssignmentMemory } from './assignments/memory.ts'
import type { AssignmentWriter } from './assignments/writer.ts'
import type { Caller, KeyRing } from './auth/key-ring.ts'
import type { Cache } from './cache/cache.ts'
import type { Config } from './config.ts'
import type { ConcurrencyLimit } from './database/concurrency-limit.ts'
import type { Poller } from './database/poller.ts'
import type { Audited, Define } from './definitions/define.ts'
import type { Watch } from './definitions/watch.ts'
import type { Maintenance } from './events/maintenance.ts'
import type { Recorder } from './events/recorder.ts'
import type { EventTail } from './events/tail.ts'
import type { Starter } from './experiments/starter.ts'
import type { Freezer } from './results/freeze.ts'
import type { Totals } from './totals/worker.ts'
import type { AliasWriter } from './users/aliases.ts'
import type { ProfileCache } from './users/profile-cache.ts'

/** What one process holds for all its requests; `app.ts` builds it. */
export type Platform = {
  readonly config: Config
  readonly log: Logger
  readonly orm: MikroORM
  /** Where days are cut. */
  readonly timeZone: string
  /** What links to streams of changes are signed with. */
  readonly streamSecret: string
  readonly cache: Cache
  readonly watch: Watch
  readonly audited: Audited
  readonly define: Define
  readonly starter: Starter
  readonly profiles: ProfileCache
  readonly aliasWriter: AliasWriter
  readonly memory: AssignmentMemory
  readonly writer: AssignmentWriter
  readonly recorder: Recorder
  readonly maintenance: Maintenance
  readonly totals: Totals
  readonly freezer: Freezer
  readonly alertMonitor: AlertMonitor
  readonly poller: Poller
  readonly eventTail: EventTail
  readonly keyRing: KeyRing
  readonly concurrencyLimit: ConcurrencyLimit
}

/** What a procedure is handed. */
export type Context = {
  readonly platform: Platform
  readonly token: string | undefined
  /** Who is calling; `trpc.ts` sets it before a keyed procedure runs. */
  caller: Caller | undefined
  /** The name that the audit log gives to whoever is calling. */
  readonly actor: string
  /** A new entity manager at each use: the calls of a tRPC batch share one context, and must not share that. */
  readonly em: EntityManager
  /** Changes definitions in the caller's name; see `definitions/define.ts`. */
  readonly define: <T>(work: (em: EntityManager) => Promise<T>) => Promise<T>
  /** A transaction in the caller's name. */
  readonly audited: <T>(work: (em: EntityManager) => Promise<T>) => Promise<T>
}

const BEARER = /^Bearer +(\S+) *$/i

/** The token of an `Authorization` header, if that is what it holds. */
export const bearerToken = (authorization: string | undefined): string | undefined =>
  authorization === undefined ? undefined : BEARER.exec(authorization)?.[1]

/** The token of either header that OpenFeature's protocol knows. */
export const tokenOf = ({ authorization, 'x-api-key': apiKey }: IncomingHttpHeaders): string | undefined =>
  bearerToken(authorization) ?? (typeof apiKey === 'string' ? apiKey : undefined)

export function createContext(platform: Platform, token: string | undefined): Context {
  const context: Context = {
    platform,
    token,
    caller: undefined,
    get actor() {
      return context.caller?.actor ?? 'anonymous'
    },
    get em() {
      return platform.orm.em.fork()
    },
    define: (work) => platform.define(context.actor, work),
    audited: (work) => platform.audited(context.actor, work),
  }
  return context
}
