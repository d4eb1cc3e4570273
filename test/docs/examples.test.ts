import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { examplesOf } from '../../server/docs/examples.ts'
import { createPlayer, type Player } from '../../server/docs/player.ts'
import type { Document } from '../../server/http/openapi.ts'
import { oneDatabase, openApp, type TestApp } from '../support/app.ts'

const text = readFileSync(new URL('../../openapi.json', import.meta.url), 'utf8')
const document: Document = JSON.parse(text)
const examples = examplesOf(document)

describe('the examples of openapi.json', () => {
  let app: TestApp
  let player: Player
  beforeAll(async () => {
    // With a token the helper makes no key of its own, so that the first key is that of the examples.
    app = await openApp(oneDatabase(), { ADMIN_TOKEN: 'for the helper alone', KEY_MANAGEMENT: 'open' })
    player = createPlayer(app, app.url)
  })
  afterAll(() => app?.close())

  test('show a request and an answer of every operation', () => {
    for (const methods of Object.values(document.paths))
      for (const { operationId, responses } of Object.values(methods))
        if (operationId) expect(JSON.stringify(responses['200']), operationId).toContain('"call-')
  })

  test('are numbered without a gap', () => {
    expect(examples.length).toBeGreaterThan(100)
    expect(examples.map(({ name }) => Number(name.replace('call-', '')))).toEqual(examples.map((_, index) => index + 1))
  })

  test.each(examples)('$name: $title', async ({ request, answer }) => {
    expect(await player.play(request)).toEqual(answer)
  })
})
