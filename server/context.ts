import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import type { Logger } from 'pino'
import type { AssignmentMemory } from './assignments/memory.ts'
import type { AssignmentWriter } from './assignments/writer.ts'
import type { Caller, KeyRing } from './auth/key-ring.ts'
import type { Cache } from './cache/cache.ts'
import type { Config } from './config.ts'
import type { Define } from './definitions/define.ts'
import type { Watch } from './definitions/watch.ts'
import type { Recorder } from './events/recorder.ts'
import type { People } from './users/people.ts'

/** What one process holds for all its requests; `app.ts` builds it. */
export type Platform = {
  readonly config: Config
  readonly log: Logger
  readonly orm: MikroORM
  readonly cache: Cache
  readonly watch: Watch
  readonly define: Define
  readonly people: People
  readonly memory: AssignmentMemory
  readonly writer: AssignmentWriter
  readonly recorder: Recorder
  readonly keyRing: KeyRing
}

/** What a procedure is handed. */
export type Context = {
  readonly platform: Platform
  readonly token: string | undefined
  /** Who is calling; `trpc.ts` sets it before a keyed procedure runs. */
  caller: Caller | undefined
  /** An entity manager of this request's own, made when a procedure first asks for it. */
  readonly em: EntityManager
}

const BEARER = /^Bearer +(\S+) *$/i

export function createContext(platform: Platform, authorization: string | undefined): Context {
  let em: EntityManager | undefined
  return {
    platform,
    token: authorization === undefined ? undefined : BEARER.exec(authorization)?.[1],
    caller: undefined,
    get em() {
      em ??= platform.orm.em.fork()
      return em
    },
  }
}

/** The name that the audit log gives to whoever is calling. */
export const actorOf = (ctx: Context): string => ctx.caller?.actor ?? 'anonymous'
