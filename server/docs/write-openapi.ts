import { readFileSync, writeFileSync } from 'node:fs'
import { pino } from 'pino'
import { createApp } from '../app.ts'
import { readConfig } from '../config.ts'
import { openApiDocument } from '../http/openapi.ts'
import { addExamples } from './examples.ts'
import { createPlayer } from './player.ts'
import { STORY } from './story.ts'

/**
 * `npm run docs` writes openapi.json, with examples from a platform in memory. With --check it fails if the file is not
 * current, and writes nothing.
 */
const file = new URL('../../openapi.json', import.meta.url)
const current = `${JSON.stringify(await documentWithExamples(), null, 2)}\n`
if (process.argv.includes('--check')) {
  if (readFileSync(file, 'utf8') !== current) {
    console.error('openapi.json is stale: run npm run docs and commit it')
    process.exit(1)
  }
  console.log('openapi.json is current')
} else {
  writeFileSync(file, current)
  console.log('openapi.json is written')
}

async function documentWithExamples() {
  const document = openApiDocument()
  const config = readConfig({ DATABASE_URL: 'pglite:', LOG_LEVEL: 'silent' })
  const app = await createApp(config, pino({ level: config.logLevel }))
  try {
    const url = await app.http.listen({ host: '127.0.0.1', port: 0 })
    await addExamples(document, STORY, createPlayer(app, url))
  } finally {
    await app.close()
  }
  return document
}
