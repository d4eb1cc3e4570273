import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { readConfig } from '../server/config.ts'
import { hasPostgres, openApp } from './support/app.ts'
import { atAddress, codeOf, readDocument, writeExample } from './support/documents.ts'
import { canPasteInto, pasteInto, SHELLS } from './support/terminal.ts'

const readme = readDocument('README.md')
const shellBlocks = codeOf(readme, 'sh')
/** The commands that install, start and test. This test runs inside the last of them. */
const COMMANDS = ['npm ci && npm start\n', 'npm ci && npm test\n']
const walk = shellBlocks.filter((code) => !COMMANDS.includes(code))

/** A reader of the README has the embedded database, so one of the runs uses it. */
const fastest = () => (hasPostgres() ? 'postgres' : 'embedded')

/** Checks the output of a run, block by block. */
function checkAnswers(answers: unknown[]) {
  expect(answers).toHaveLength(17)
  // biome-ignore lint/suspicious/noExplicitAny: answers have every shape
  const [control, treatment, ...rest] = answers as any[]
  expect([control.name, treatment.name]).toEqual(['control', 'treatment'])
  for (const decision of rest.slice(0, 4)) expect(Object.keys(decision.eligible_experiment_ids)).toHaveLength(1)
  const [event, listed, results, plan, attached, checklist, broken, series, flag, one, all] = rest.slice(4)
  expect(listed).toEqual([event])
  const counts = results.variants.map((row: { total_users: number; conversions: number }) => [
    row.total_users,
    row.conversions,
  ])
  expect(counts.reduce((sum: number, [users]: [number]) => sum + users, 0)).toBe(4)
  expect(counts.reduce((sum: number, [, conversions]: [number, number]) => sum + conversions, 0)).toBe(1)
  expect(plan).toMatchObject({ total_users: 2 * plan.users[0], days: Math.ceil(plan.total_users / 2000) })
  expect(attached).toMatchObject([{ role: 'secondary', definition: { type: 'sum', window_hours: 168 } }])
  expect(checklist).toMatchObject({ is_locked: true, plan: { method: 'sequential' } })
  expect(broken).toMatchObject({
    decision: { outcome: 'continue' },
    segments: [{ dimension: 'country_code', value: 'US' }],
  })
  expect(series.days).toHaveLength(1)
  expect(one).toMatchObject({ key: flag.key, value: true, reason: 'TARGETING_MATCH' })
  expect(all.flags).toContainEqual(one)
  expect(all.flags.length).toBeGreaterThanOrEqual(2)
}

test('the README names the commands that start and test the platform', () => {
  expect(shellBlocks).toEqual(expect.arrayContaining(COMMANDS))
})

describe('the README’s shell blocks work as they stand', () => {
  for (const shell of SHELLS)
    test.runIf(canPasteInto(shell))(
      `pasted into an interactive ${shell}`,
      async () => {
        const app = await openApp('embedded')
        try {
          const answers = await pasteInto(
            shell,
            walk.map((code) => atAddress(code, app.url)),
          )
          checkAnswers(answers.flat())
        } finally {
          await app.close()
        }
      },
      60_000,
    )

  test('as a script of sh', async () => {
    const app = await openApp(fastest())
    try {
      const { stdout, stderr } = await promisify(execFile)('sh', ['-c', atAddress(walk.join(''), app.url)])
      expect(stderr).toBe('')
      checkAnswers(
        stdout
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line)),
      )
    } finally {
      await app.close()
    }
  }, 120_000)
})

test('the README’s TypeScript works as it stands', async () => {
  const [code = ''] = codeOf(readme, 'ts')
  const app = await openApp('embedded')
  const { id } = await app.api.makeExperiment()
  expect(id).toBe(1)
  const example = writeExample(code, app.url)
  try {
    const env = { ...process.env, API_KEY: app.api.token }
    const { stdout } = await promisify(execFile)(process.execPath, [example.file], { env })
    expect(['control', 'treatment']).toContain(stdout.trim())
    const [event] = await app.api.ok('GET', `/api/events/${id}`)
    expect(event).toMatchObject({ user_id: 'ada', type: 'conversion' })
  } finally {
    example.remove()
    await app.close()
  }
})

/** Lists the variables of the configuration table. */
function documentedVariables(): string[] {
  const [, table] = /## Configuration[\s\S]*?\n\| --- \|[^\n]*\n([\s\S]*?)\n\n/.exec(readme) ?? []
  return [...(table ?? '').matchAll(/^\| ([^|]*) \|/gm)].flatMap(
    ([, names]) => (names ?? '').match(/[A-Z_]{4,}/g) ?? [],
  )
}

test('the README names exactly the variables of the configuration', () => {
  const source = readDocument('server/config.ts')
  const variables = [...source.matchAll(/^ {4}([A-Z_]+):/gm)]
    .map(([, name]) => name)
    .filter((name) => name !== 'NODE_ENV')
  expect(documentedVariables().sort()).toEqual(variables.sort())
})

describe('docker-compose.yml', () => {
  const compose = readDocument('docker-compose.yml')
  const [platform = ''] = /^ {2}platform:\n(?: {4}.*\n|\n)*/m.exec(compose) ?? []

  /** Reads the environment of the platform, as compose replaces the variables of the shell. */
  function environmentOf(shell: Record<string, string>) {
    let text = platform
    for (let before = ''; before !== text; ) {
      before = text
      text = text.replaceAll(/\$\{(\w+):-([^${}]*)\}/g, (_, name, otherwise) => shell[name] || otherwise)
    }
    return Object.fromEntries([...text.matchAll(/^ {6}([A-Z_]+): ?(.*)$/gm)].map(([, name, value]) => [name, value]))
  }

  test('hands on every variable of the configuration table', () => {
    const shell = Object.fromEntries(documentedVariables().map((name) => [name, `value of ${name}`]))
    // The container listens on all of its addresses; the port is published.
    const { HOST, PORT, ...handedOn } = shell
    expect(environmentOf(shell)).toEqual(handedOn)
    expect(platform).toContain(`- 127.0.0.1:\${PORT:-8000}:8000\n`)
  })

  test('starts the platform with no variable set', () => {
    const image = { NODE_ENV: 'production', HOST: '0.0.0.0' }
    expect(readConfig({ ...image, ...environmentOf({}) })).toMatchObject({
      databaseUrl: 'postgres://platform:platform@postgres:5432/platform',
      redisUrl: 'redis://redis:6379',
      keyManagement: 'open',
    })
  })

  test('gives the platform longer to stop than it takes to drain', () => {
    expect(Number(/stop_grace_period: (\d+)s/.exec(platform)?.[1])).toBeGreaterThan(10)
    expect(readDocument('Dockerfile')).toMatch(/^CMD \["node", "server\/start\.js"\]$/m)
  })
})
