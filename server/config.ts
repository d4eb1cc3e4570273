import { z } from 'zod'
import { redisUrlFault } from './cache/url.ts'
import { urlFault } from './database/url.ts'
import { isTimeZone } from './wire.ts'

const isLoopback = (host: string) => host === 'localhost' || host === '::1' || /^127\./.test(host)
/** Browsers send origins in lower case, and applications have schemes of their own, such as capacitor://localhost. */
const isOrigin = (text: string) => /^(\*|[a-z][a-z0-9+.-]*:\/\/[^/?#\sA-Z]+)$/.test(text)
const integer = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d+$/, `must be a whole number from ${min} to ${max}`)
    .transform(Number)
    .refine((value) => value >= min && value <= max, `must be a whole number from ${min} to ${max}`)

/** The embedded database of a first start, in a folder that the platform may create. */
export const DEFAULT_DATABASE_URL = 'pglite:./data'

const environment = z
  .object({
    NODE_ENV: z.string().optional(),
    HOST: z.string().default('127.0.0.1'),
    PORT: integer(0, 65_535).default(8000),
    DATABASE_URL: z
      .string()
      .superRefine((url, ctx) => {
        const message = urlFault(url)
        if (message !== null) ctx.addIssue({ code: 'custom', message })
      })
      .default(DEFAULT_DATABASE_URL),
    DATABASE_POOL: integer(2, 1000).default(10),
    REDIS_URL: z
      .string()
      .superRefine((url, ctx) => {
        const message = redisUrlFault(url)
        if (message !== null) ctx.addIssue({ code: 'custom', message })
      })
      .optional(),
    WORKERS: integer(1, 256).default(1),
    KEY_MANAGEMENT: z.enum(['open', 'admin']).optional(),
    ADMIN_TOKEN: z.string().min(16, 'must have at least 16 characters').optional(),
    TIME_ZONE: z.string().refine(isTimeZone, 'must be an IANA time zone such as UTC or Europe/Paris').optional(),
    EVENT_RETENTION_DAYS: integer(1, 36_500).optional(),
    CORS_ORIGINS: z
      .string()
      .transform((list) =>
        list
          .split(',')
          .map((origin) => origin.trim())
          .filter(Boolean),
      )
      .refine(
        (origins) => origins.every(isOrigin),
        'must be * or origins, such as https://shop.example, without a path',
      )
      .default([]),
    OFREP_RATE_LIMIT: integer(1, 1_000_000).optional(),
    LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
  })
  .transform((env) => ({
    host: env.HOST,
    port: env.PORT,
    databaseUrl: env.DATABASE_URL,
    databasePool: env.DATABASE_POOL,
    redisUrl: env.REDIS_URL,
    workers: env.WORKERS,
    keyManagement:
      env.KEY_MANAGEMENT ??
      (isLoopback(env.HOST) && env.NODE_ENV !== 'production' ? ('open' as const) : ('admin' as const)),
    adminToken: env.ADMIN_TOKEN,
    timeZone: env.TIME_ZONE,
    eventRetentionDays: env.EVENT_RETENTION_DAYS,
    corsOrigins: env.CORS_ORIGINS,
    ofrepRateLimit: env.OFREP_RATE_LIMIT,
    logLevel: env.LOG_LEVEL,
  }))
  .superRefine((config, ctx) => {
    const refuse = (variable: string, message: string) => ctx.addIssue({ code: 'custom', path: [variable], message })
    if (config.keyManagement === 'admin' && !config.adminToken)
      refuse(
        'ADMIN_TOKEN',
        'must be set (at least 16 characters), because KEY_MANAGEMENT is admin, which is its default on a HOST that ' +
          'others reach and with NODE_ENV=production',
      )
    if (config.workers > 1 && config.databaseUrl.startsWith('pglite:'))
      refuse('WORKERS', `${config.workers} processes need PostgreSQL: set DATABASE_URL to postgres://…`)
    if (config.workers > 1 && !config.redisUrl)
      refuse('WORKERS', `${config.workers} processes need Redis: set REDIS_URL to redis://…`)
  })

export type Config = Readonly<z.output<typeof environment>>

/**
 * Reads the configuration from environment variables. An empty value counts as unset; unknown variables are ignored.
 * @throws Error that names each variable with a bad value, one on a line
 */
export function readConfig(env: Record<string, string | undefined>): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''))
  const parsed = environment.safeParse(given)
  if (parsed.success) return Object.freeze(parsed.data)
  const faults = parsed.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`)
  throw new Error(`The platform cannot start with these environment variables:\n${faults.join('\n')}`)
}
