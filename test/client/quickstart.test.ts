import { join } from 'node:path'
import { expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'
import { root } from './fixture.ts'
import { run, runWell } from './run.ts'

const script = join(root, 'client/examples/quickstart.ts')

onOneDatabase('the quickstart', (app) => {
  const quickstart = () => runWell(process.execPath, [script], { environment: { PLATFORM_URL: app().url } })

  test('runs from the first key to a winner, and changes nothing when it runs again', async () => {
    const first = await quickstart()
    const [, control, treatment] = /control: (\d+) users\n {2}treatment: (\d+) users/.exec(first) ?? []
    expect(Number(control) + Number(treatment)).toBe(200)
    expect(first).toContain(`of ${control} converted`)
    expect(first).toContain(`of ${treatment} converted`)
    expect(first).toMatch(/Winner: treatment, \d+\.\d % better/)
    const [, accepted] = /Events: (\d+) accepted, 0 duplicates/.exec(first) ?? []

    const second = await quickstart()
    expect(second).toBe(first.replace(`${accepted} accepted, 0 duplicates`, `0 accepted, ${accepted} duplicates`))
  })

  test('says how to start a platform if none answers', async () => {
    const { code, output } = await run(process.execPath, [script], {
      environment: { PLATFORM_URL: 'http://127.0.0.1:1' },
    })
    expect(code).toBe(1)
    expect(output).toBe('No platform answers at http://127.0.0.1:1: start one with npm start, or set PLATFORM_URL\n')
  })
})
