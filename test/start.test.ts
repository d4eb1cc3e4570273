import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { awaitDatabase } from '../server/database/await-database.ts'
import { openDatabase } from '../server/database/orm.ts'
import { listenFault, StartFault } from '../server/start-fault.ts'
import { freshDatabase, onPostgres, openApp } from './support/app.ts'
import { freePort, runServer, startServer } from './support/process.ts'
import { administer, databaseUrl, POSTGRES_URL, REDIS_URL } from './support/services.ts'

const main = fileURLToPath(new URL('../server/main.ts', import.meta.url))

/** Reads the last line of a log. A sentence has no stack and no other lines of an error. */
const lastEntry = (output: string) => JSON.parse(output.trim().split('\n').at(-1) ?? '')

onPostgres('a start on PostgreSQL', () => {
  test('names a database that does not exist, and does not create it', async () => {
    const name = `mistyped_${process.pid}`
    const { code, output } = await runServer({ DATABASE_URL: databaseUrl(name), PORT: '0' })
    expect(code).toBe(1)
    expect(lastEntry(output)).toMatchObject({
      level: 60,
      msg: expect.stringMatching(`has no database ${name}: create it`),
    })
    expect(lastEntry(output)).not.toHaveProperty('err')
    expect(await administer(`select 1 from pg_database where datname = '${name}'`)).toEqual([])
  })

  test('refuses a database that a newer version has migrated, and changes nothing in it', async () => {
    const { DATABASE_URL } = await freshDatabase('postgres')
    await administer(`insert into mikro_orm_migrations (name) values ('Migration9999Later')`, DATABASE_URL)
    await expect(openApp('postgres', { DATABASE_URL })).rejects.toThrow(
      'A newer version of the platform has migrated this database (Migration9999Later): start that version, or restore ' +
        'the backup that was made before the upgrade.',
    )
  })

  test('names a user whom the database refuses', async () => {
    const url = Object.assign(new URL(POSTGRES_URL), {
      username: `nobody_${process.pid}`,
      password: 'secret-word',
    }).href
    const { code, output } = await runServer({ DATABASE_URL: url, PORT: '0' })
    expect(code).toBe(1)
    expect(lastEntry(output).msg).toContain(`refuses the user nobody_${process.pid}`)
    expect(output).not.toContain('secret-word')
  })

  test('names a database that Redis does not have', async () => {
    const fresh = await freshDatabase('postgres')
    const starting = openApp('postgres', { ...fresh, REDIS_URL: `${REDIS_URL}/99999` })
    await expect(starting).rejects.toThrow(StartFault)
    await expect(starting).rejects.toThrow(
      'Redis refuses database 99999 (ERR DB index is out of range): correct the number at the end of REDIS_URL',
    )
  })

  test('is encrypted where the URL asks for it, or is not made', async () => {
    const db = await openDatabase({ url: `${POSTGRES_URL}?sslmode=require`, pool: 1 })
    const [offered] = await administer<{ ssl: 'on' | 'off' }>('show ssl')
    const asked = db.orm.em.fork().execute('select ssl from pg_stat_ssl where pid = pg_backend_pid()')
    if (offered?.ssl === 'on') expect(await asked).toEqual([{ ssl: true }])
    else await expect(asked).rejects.toThrow('The server does not support SSL connections')
    await db.close()
  })
})

test('a start names a folder that is mistyped, and does not create an empty database in it', async () => {
  const parent = mkdtempSync(join(tmpdir(), 'mistyped-'))
  try {
    const missing = join(parent, 'dat')
    const fault = await runServer({ DATABASE_URL: `pglite:${missing}`, PORT: '0' })
    expect(fault.code).toBe(1)
    expect(lastEntry(fault.output)).not.toHaveProperty('err')
    expect(lastEntry(fault.output).msg).toBe(
      `There is no folder ${missing} for the embedded database: correct DATABASE_URL, or create the folder ` +
        `(mkdir ${missing}) to begin with an empty database`,
    )
    expect(existsSync(missing)).toBe(false)
    writeFileSync(join(parent, 'package.json'), '{}')
    await expect(openDatabase({ url: `pglite:${parent}`, pool: 2 })).rejects.toThrow(
      `The folder ${parent} holds no embedded database but other files, such as package.json: correct DATABASE_URL, ` +
        'or name an empty folder to begin with an empty database',
    )
    expect(readdirSync(parent)).toEqual(['package.json'])
    const file = join(parent, 'package.json')
    await expect(openDatabase({ url: `pglite:${file}`, pool: 2 })).rejects.toThrow(
      `${file} is a file, and the embedded database needs a folder`,
    )
    await expect(openDatabase({ url: 'pglite://no-such-folder', pool: 2 })).rejects.toThrow(
      'DATABASE_URL is pglite://no-such-folder, which names a folder at the root: write pglite:./no-such-folder for a ' +
        'folder beside the platform, or pglite:/no-such-folder, without // after the colon',
    )
  } finally {
    rmSync(parent, { recursive: true })
  }
})

test('a start waits for a database that does not answer yet, then says what it waited for', async () => {
  const port = await freePort()
  const url = `postgres://someone:secret-word@127.0.0.1:${port}/experiments`
  const database = await openDatabase({ url, pool: 2 })
  const said: string[] = []
  const waiting = awaitDatabase(database, url, (message) => said.push(message), 1200)
  await expect(waiting).rejects.toThrow(StartFault)
  await expect(waiting).rejects.toThrow(
    `PostgreSQL at 127.0.0.1:${port} does not answer (connection refused): start it, or correct DATABASE_URL`,
  )
  expect(said).toEqual([`Waiting up to 1.2 seconds for PostgreSQL at 127.0.0.1:${port} (connection refused) …`])
  await database.close()
})

test('a start names the port that is taken, in one sentence', async () => {
  const holder = createServer().listen(0, '127.0.0.1')
  await once(holder, 'listening')
  const { port } = holder.address() as { port: number }
  const { code, output } = await runServer({ DATABASE_URL: 'pglite:', PORT: String(port) })
  holder.close()
  expect(code).toBe(1)
  expect(lastEntry(output).msg).toBe(
    `Port ${port} on 127.0.0.1 is taken by another program: stop that program, or set PORT to a free port`,
  )
})

test('a start names a HOST that is no address of this machine, in one sentence', async () => {
  for (const host of ['999.1.1.1', '192.0.2.1']) {
    const [error] = await once(createServer().listen(0, host), 'error', {}).catch((fault) => [fault])
    expect(listenFault(error, host, 8000)).toBe(
      `HOST is ${host}, which is no address of this machine: set HOST to 127.0.0.1, or to 0.0.0.0 for all addresses`,
    )
  }
})

test('a log that is not read in a terminal is JSON throughout, with the addresses in one line', async () => {
  const server = await startServer({ DATABASE_URL: 'pglite:', LOG_LEVEL: 'info' })
  await server.kill('SIGTERM')
  const entries = server
    .output()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const ready = entries.filter(({ msg }) => msg === `The experimentation platform is ready at ${server.url}`)
  expect(ready).toMatchObject([{ addresses: { REST: `${server.url}/api/experiments` } }])
})

test.runIf(process.platform === 'linux')(
  'a platform that npm started ends when npm ends, also behind a shell',
  async () => {
    const port = await freePort()
    const { PATH = '', NODE_COMPILE_CACHE = '' } = process.env
    const shell = spawn('sh', ['-c', `"${process.execPath}" "${main}"; true`], {
      env: { PATH, NODE_COMPILE_CACHE, DATABASE_URL: 'pglite:', PORT: String(port), npm_lifecycle_event: 'start' },
      stdio: 'ignore',
    })
    const isUp = () =>
      fetch(`http://127.0.0.1:${port}/health/live`)
        .then(() => true)
        .catch(() => false)
    await expect.poll(isUp, { timeout: 30_000, interval: 200 }).toBe(true)
    shell.kill('SIGKILL')
    await expect.poll(isUp, { timeout: 10_000, interval: 200 }).toBe(false)
  },
  60_000,
)
