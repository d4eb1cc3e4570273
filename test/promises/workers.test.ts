import { globSync } from 'node:fs'
import { basename } from 'node:path'
import { expect, test } from 'vitest'
import { createApi } from '../support/api.ts'
import { freshDatabase, onPostgres } from '../support/app.ts'
import { childrenOf, runServer, startServer } from '../support/process.ts'
import { administer, databaseUrl } from '../support/services.ts'

onPostgres('several workers on one port', () => {
  test('make the same decisions, are replaced when they die, and shut down together', async () => {
    const server = await startServer({ ...(await freshDatabase('postgres')), WORKERS: '2' })
    const api = await createApi(server.url)
    const experiment = await api.makeExperiment()
    const users = Array.from({ length: 60 }, (_, user) => `worker_${user}`)
    const decide = () => Promise.all(users.map((user) => api.variantOf(user, experiment)))
    const first = await decide()
    expect(new Set(first).size).toBe(2)
    expect(await decide()).toEqual(first)

    const [victim = 0, ...others] = childrenOf(server.pid)
    expect(others).toHaveLength(1)
    process.kill(victim, 'SIGKILL')
    for (let waited = 0; ; waited++) {
      const now = childrenOf(server.pid)
      if (now.length === 2 && !now.includes(victim)) break
      if (waited > 200) throw new Error('The dead worker was not replaced')
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    expect(await decide()).toEqual(first)
    expect(await server.kill('SIGTERM')).toBe(0)
  }, 90_000)

  test('lose no acknowledged event when a signal goes to the whole process group', async () => {
    const environment = await freshDatabase('postgres')
    const server = await startServer({ ...environment, WORKERS: '2' })
    const api = await createApi(server.url)
    const sent = Array.from({ length: 200 }, (_, index) =>
      api
        .call('POST', '/api/events', { user_id: `grouped ${index}`, type: 'last', attributes: {} })
        .then((answer) => answer.status)
        .catch(() => 'refused'),
    )
    await Promise.race(sent)
    for (const child of childrenOf(server.pid)) process.kill(child, 'SIGTERM')
    expect(await server.kill('SIGTERM')).toBe(0)
    const acknowledged = (await Promise.all(sent)).filter((status) => status === 200).length
    expect(acknowledged).toBeGreaterThan(0)
    const [stored] = await administer<{ count: number }>(
      'select count(*)::int as count from events',
      environment.DATABASE_URL,
    )
    expect(stored?.count).toBeGreaterThanOrEqual(acknowledged)
  }, 60_000)

  test('end with a message if the port is taken, instead of trying for ever', async () => {
    const environment = await freshDatabase('postgres')
    const first = await startServer(environment)
    const second = await runServer({ ...environment, WORKERS: '2', PORT: new URL(first.url).port })
    expect(second.code).toBe(1)
    expect(second.output).toContain(`Port ${new URL(first.url).port} on 127.0.0.1 is taken by another program`)
    expect(second.output).toContain('A worker cannot start')
    await first.kill('SIGTERM')
  }, 60_000)

  test('can start concurrently on a database that is not migrated', async () => {
    const name = `experiment_test_bare_${process.pid}`
    await administer(`create database ${name}`)
    const environment = { DATABASE_URL: databaseUrl(name) }
    const servers = await Promise.all([1, 2, 3].map(() => startServer(environment)))
    const rows = await administer<{ name: string }>(
      'select name from mikro_orm_migrations order by name',
      environment.DATABASE_URL,
    )
    await Promise.all(servers.map((server) => server.kill('SIGTERM')))
    const migrations = globSync('server/database/migrations/*.ts').map((file) => basename(file).slice(0, 4))
    expect(rows.map(({ name }) => /\d{4}/.exec(name)?.[0])).toEqual(migrations.sort())
    await administer(`drop database ${name} with (force)`)
  }, 90_000)
})
