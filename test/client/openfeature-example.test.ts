import { join } from 'node:path'
import { expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'
import { root } from './fixture.ts'
import { runWell } from './run.ts'

const script = join(root, 'client/examples/openfeature.ts')

onOneDatabase('the OpenFeature example', (app) => {
  test('counts the visitors who were shown the button, and counts none twice when it runs again', async () => {
    const example = () => runWell(process.execPath, [script], { environment: { PLATFORM_URL: app().url } })
    const first = await example()
    expect(first).toMatch(/^40 visitors, 20 of whom were shown the button\n/)
    const [, treated] = /treatment: (\d+) of \1 converted/.exec(first) ?? []
    expect(Number(treated)).toBeGreaterThan(0)
    expect(await example()).toBe(first)
  })
})
