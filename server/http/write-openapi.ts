import { readFileSync, writeFileSync } from 'node:fs'
import { openApiDocument } from './openapi.ts'

/** `npm run docs` writes openapi.json. With --check it fails if the file is not current, and writes nothing. */
const file = new URL('../../openapi.json', import.meta.url)
const current = `${JSON.stringify(openApiDocument(), null, 2)}\n`
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
