import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compiler, errorsIn, expectedErrors, root, wrongFields } from './fixture.ts'
import { type Ended, run } from './run.ts'

const TIMEOUT_MS = 120_000

describe('the types of the client', () => {
  let folder: string
  let ended: Ended
  // One compilation checks both texts, with the project's own strict options, because loading the types takes most of
  // the time.
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'client-types-'))
    const source = join(root, 'client/index.ts')
    writeFileSync(join(folder, 'expecting.mts'), wrongFields(source, { expecting: true }))
    writeFileSync(join(folder, 'bare.mts'), wrongFields(source, { expecting: false }))
    const compilerOptions = { typeRoots: [join(root, 'node_modules/@types')] }
    const files = ['expecting.mts', 'bare.mts']
    const config = { extends: join(root, 'tsconfig.json'), compilerOptions, include: [], files }
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
    ended = await run(process.execPath, [compiler, '-p', folder, '--pretty', 'false'])
  }, TIMEOUT_MS)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const errors = () => ended.output.split('\n').filter((line) => errorsIn(line) > 0)

  test('accept right fields and refuse wrong, missing and misspelled ones', () => {
    expect(errors().filter((line) => !line.includes('bare.mts('))).toEqual([])
  })

  test('make each wrong line an error if the fixture does not expect the error', () => {
    expect(ended.code).toBe(1)
    expect(expectedErrors).toBeGreaterThan(20)
    expect(errors().filter((line) => line.includes('bare.mts('))).toHaveLength(expectedErrors)
  })
})
