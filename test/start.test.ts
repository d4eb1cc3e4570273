import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { awaitDatabase } from '../server/database/await-database.ts'
import { openDatabase } from '../server/database/orm.ts'
import { StartFault } from '../server/start-fault.ts'
import { onPostgres } from './support/app.ts'
import { freePort, runServer, startServer } from './support/process.ts'
import { administer, databaseUrl, POSTGRES_URL } from './support/services.ts'

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
