import type { IncomingHttpHeaders } from 'node:http'
import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import type { Logger } from 'pino'
import type { Deciding } from './assignments/decide.ts'
import type { Caller, KeyRing } from './auth/key-ring.ts'
import type { Cache } from './cache/cache.ts'
import type { Config } from './config.ts'
import type { BackgroundJob } from './database/background.ts'
import type { ConcurrencyLimit } from './database/concurrency-limit.ts'
import type { Definitions } from './definitions/define.ts'
import type { ResolveNames } from './definitions/references.ts'
import type { Recording } from './events/service.ts'
import type { EventTail } from './events/tail.ts'
import type { DecideByStored } from './experiments/take-over.ts'
import type { Following } from './results/follow.ts'
import type { Reporting } from './results/service.ts'
import type { Users } from './users/service.ts'

/**
 * Everything that one process holds for all its requests; `app.ts` builds it. A service receives one part, never the
 * whole, so its parameters show what it uses.
 */
export type Platform = {
  readonly config: Config
  readonly log: Logger
  readonly orm: MikroORM
  readonly cache: Cache
  /** Signs the links to streams of changes. */
  readonly streamSecret: string
  /** Limits how many other requests use the database at a time, so that decisions and events find a connection. */
  readonly concurrencyLimit: ConcurrencyLimit
  readonly keyRing: KeyRing
  readonly definitions: Definitions
  /** Replaces the keys that the input of a procedure names by ids. */
  readonly resolveNames: ResolveNames
  readonly users: Users
  readonly deciding: Deciding
  readonly recording: Recording
  readonly decideByStored: DecideByStored
  readonly reporting: Reporting
  readonly following: Following
  readonly eventTail: EventTail
  /** Background jobs that can also be run on demand. */
  readonly jobs: Record<'maintenance' | 'freezer' | 'alertMonitor' | 'deletion', BackgroundJob>
}

/** The context of one call, from which `trpc.ts` and the routers take the arguments of services. */
export type Context = {
  readonly platform: Platform
  readonly token: string | undefined
  /** True if unknown fields of the input are ignored, as `Prefer: handling=lenient` asks. */
  readonly lenient: boolean
  /** The API key of the call with its scopes; `trpc.ts` sets it before a keyed procedure runs. */
  caller: Caller | undefined
  /** The caller's name in the audit log. */
  readonly actor: string
  /** A new entity manager at each use: the calls of a tRPC batch share one context, but no entity manager. */
  readonly em: EntityManager
  /** Changes definitions in the caller's name; see `definitions/define.ts`. */
  readonly define: <T>(work: (em: EntityManager) => Promise<T>) => Promise<T>
  /** Runs a transaction in the caller's name. */
  readonly audited: <T>(work: (em: EntityManager) => Promise<T>) => Promise<T>
}

const BEARER = /^Bearer +(\S+) *$/i

/** Reads the bearer token of an `Authorization` header; undefined when there is none. */
export const bearerToken = (authorization: string | undefined): string | undefined =>
  authorization === undefined ? undefined : BEARER.exec(authorization)?.[1]

/** Reads the token of `Authorization` or `X-API-Key`, the two headers of OpenFeature's protocol. */
export const tokenOf = ({ authorization, 'x-api-key': apiKey }: IncomingHttpHeaders): string | undefined =>
  bearerToken(authorization) ?? (typeof apiKey === 'string' ? apiKey : undefined)

export function createContext(platform: Platform, token: string | undefined, lenient = false): Context {
  const context: Context = {
    platform,
    token,
    lenient,
    caller: undefined,
    get actor() {
      return context.caller?.actor ?? 'anonymous'
    },
    get em() {
      return platform.orm.em.fork()
    },
    define: (work) => platform.definitions.define(context.actor, work),
    audited: (work) => platform.definitions.audited(context.actor, work),
  }
  return context
}
