import { readFileSync, writeFileSync } from 'node:fs'
import { openApiDocument } from './openapi.ts'

/** `npm run docs` writes openapi.json; with --check it only says whether the one there is current. */
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
  console.log('wrote openapi.json')
}
