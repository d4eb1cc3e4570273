import { describe, expect, test } from 'vitest'
import { readConfig } from '../server/config.ts'

describe('the configuration', () => {
  test('has defaults for one process on the embedded database, and treats empty values as unset', () => {
    expect(readConfig({ PORT: '', REDIS_URL: '', UNKNOWN: 'x' })).toMatchObject({
      host: '127.0.0.1',
      port: 8000,
      databaseUrl: 'pglite:./data',
      databasePool: 10,
      redisUrl: undefined,
      workers: 1,
      keyManagement: 'open',
      logLevel: 'info',
    })
  })

  test('opens the management of keys on a loopback host outside production, or as KEY_MANAGEMENT says', () => {
    const ADMIN_TOKEN = 'sixteen-characters'
    expect(readConfig({ HOST: '0.0.0.0', ADMIN_TOKEN }).keyManagement).toBe('admin')
    expect(readConfig({ NODE_ENV: 'production', ADMIN_TOKEN }).keyManagement).toBe('admin')
    expect(readConfig({ HOST: '0.0.0.0', KEY_MANAGEMENT: 'open' }).keyManagement).toBe('open')
    expect(() => readConfig({ HOST: '0.0.0.0' })).toThrow(/ADMIN_TOKEN/)
    expect(() => readConfig({ KEY_MANAGEMENT: 'admin', ADMIN_TOKEN: 'short' })).toThrow(/16 characters/)
  })

  test('refuses several workers without PostgreSQL and Redis', () => {
    expect(() => readConfig({ WORKERS: '2' })).toThrow(/PostgreSQL[\s\S]*Redis/)
    const many = { WORKERS: '2', DATABASE_URL: 'postgres://db/x', REDIS_URL: 'redis://cache' }
    expect(readConfig(many).workers).toBe(2)
  })

  test.each([
    ['PORT', '80a'],
    ['PORT', '65536'],
    ['DATABASE_URL', 'mysql://x', /must begin with postgres:/],
    ['DATABASE_URL', 'postgres://localhost:5432', /names no database: add the name after the host/],
    ['DATABASE_URL', 'postgres://ada@localhost:5432/', /names no database: add the name after the host/],
    ['DATABASE_URL', 'postgres://localhost:54320000/x', /cannot be read: .* with a port up to 65535/],
    ['DATABASE_URL', 'postgres://localhost:abc/x', /cannot be read/],
    ['DATABASE_URL', 'postgres://ada:pass#word@localhost/x', /cannot be read: .* # .* in a password written as/],
    ['DATABASE_URL', 'postgres://ada:p@ss#word@localhost/x', /cannot be read: .* # .* in a password written as/],
    ['DATABASE_URL', 'postgres://ada:pass%word@localhost/x', /cannot be read/],
    ['DATABASE_URL', 'postgres://localhost/x%zz', /cannot be read/],
    ['DATABASE_URL', 'postgres://localhost/x?sslmod=require', /unknown option sslmod \(did you mean sslmode\?\)/],
    ['DATABASE_URL', 'postgres://localhost/x?pgbouncer=true', /unknown option pgbouncer \(known are host, sslmode, /],
    ['DATABASE_URL', 'postgres://localhost/x?sslmode=prefer', /sslmode prefer: give one of disable, require, /],
    ['DATABASE_URL', 'postgres://localhost/x?sslmode=verify-ca', /needs the file of the CA in sslrootcert/],
    [
      'DATABASE_URL',
      'postgres://localhost/x?sslmode=require&sslrootcert=/none.pem',
      /file \/none\.pem, which cannot be/,
    ],
    ['REDIS_URL', 'localhost:6379', /must begin with redis:/],
    ['REDIS_URL', 'redis://localhost:637900', /cannot be read/],
    ['REDIS_URL', 'redis://:pass%word@localhost', /cannot be read: .* in a password written as/],
    ['REDIS_URL', 'redis://localhost:6379/notadb', /must end with the number of the database, such as redis:/],
    ['REDIS_URL', 'redis://localhost:6379?db=notadb', /must end with the number of the database/],
    ['WORKERS', '0'],
    ['CORS_ORIGINS', 'shop.example'],
    ['CORS_ORIGINS', 'https://shop.example/, https://other.example'],
    ['CORS_ORIGINS', 'https://Shop.example'],
    ['KEY_MANAGEMENT', 'closed'],
    ['TIME_ZONE', 'Mars/Olympus'],
    ['LOG_LEVEL', 'loud'],
  ])('refuses %s=%s and names the variable', (variable, value, reason = /./) => {
    const read = () => readConfig({ [variable]: value })
    expect(read).toThrow(new RegExp(`^ {2}${variable}: [^\n]+$`, 'm'))
    expect(read).toThrow(reason)
  })

  test('never shows the password of a URL that it refuses', () => {
    for (const url of ['postgres://ada:secret#word@localhost/x', 'postgres://ada:secret@localhost'])
      expect(() => readConfig({ DATABASE_URL: url })).toThrow(/^(?!.*secret)/s)
  })
})
