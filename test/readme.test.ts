import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { openApp } from './support/app.ts'

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')

const shellBelow = (title: string) => {
  const [, code] = new RegExp(`## ${title}[\\s\\S]*?\`\`\`sh\\n([\\s\\S]*?)\`\`\``).exec(readme) ?? []
  if (!code) throw new Error(`the README has no shell code below ${title}`)
  return code
}

test('the README’s five minutes with curl, and its metrics and flags, work as they stand', async () => {
  const walk =
    shellBelow('Five minutes with curl') + shellBelow('Metrics, and what to do') + shellBelow('Flags, and OpenFeature')
  const app = await openApp('embedded')
  const script = walk.replace('http://127.0.0.1:8000', app.url)
  for (const shell of ['bash', 'sh']) {
    const { stdout, stderr } = await promisify(execFile)(shell, ['-c', script])
    const answers = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(stderr).toBe('')
    expect(answers).toHaveLength(17)
    const [control, treatment, ...rest] = answers
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
    expect(broken).toMatchObject({ decision: { outcome: 'continue' }, segments: [] })
    expect(series.days).toHaveLength(1)
    expect(one).toMatchObject({ key: flag.key, reason: expect.stringMatching(/SPLIT|STATIC/) })
    expect(all.flags).toContainEqual(one)
    expect(all.flags.length).toBeGreaterThanOrEqual(2)
    await new Promise((resolve) => setTimeout(resolve, 1100))
  }
  await app.close()
}, 60_000)

test('the README’s TypeScript works as it stands', async () => {
  const [, code] = /```ts\n([\s\S]*?)```/.exec(readme) ?? []
  if (!code) throw new Error('the README has no TypeScript')
  const app = await openApp('embedded')
  const { id } = await app.api.makeExperiment()
  expect(id).toBe(1)
  const folder = mkdtempSync(join(tmpdir(), 'readme-'))
  const file = join(folder, 'example.mts')
  const client = new URL('../client/index.ts', import.meta.url).href
  const script = code.replace('experimentation-platform-client', client).replace('http://127.0.0.1:8000', app.url)
  writeFileSync(file, script)
  try {
    const env = { ...process.env, API_KEY: app.api.token }
    const { stdout } = await promisify(execFile)(process.execPath, [file], { env })
    expect(['control', 'treatment']).toContain(stdout.trim())
    const [event] = await app.api.ok('GET', `/api/events/${id}`)
    expect(event).toMatchObject({ user_id: 'ada', type: 'conversion' })
  } finally {
    rmSync(folder, { recursive: true })
    await app.close()
  }
})

test('the README names every variable of the configuration, and no other', async () => {
  const source = readFileSync(new URL('../server/config.ts', import.meta.url), 'utf8')
  const variables = [...source.matchAll(/^ {4}([A-Z_]+):/gm)]
    .map(([, name]) => name)
    .filter((name) => name !== 'NODE_ENV')
  const [, table] = /## Configuration[\s\S]*?\n\| --- \|[^\n]*\n([\s\S]*?)\n\n/.exec(readme) ?? []
  const documented = [...(table ?? '').matchAll(/^\| ([^|]*) \|/gm)].flatMap(
    ([, names]) => (names ?? '').match(/[A-Z_]{4,}/g) ?? [],
  )
  expect(documented.sort()).toEqual(variables.sort())
})
