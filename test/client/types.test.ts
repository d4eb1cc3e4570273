import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compiler, errorsIn, expectedErrors, root, wrongFields } from './fixture.ts'
import { type Ended, run } from './run.ts'

const TIMEOUT_MS = 60_000

describe('the types of the client', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'client-types-'))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  /** Compiles a text against the sources, as strictly as the project itself. */
  function compile(text: string): Promise<Ended> {
    const compilerOptions = { typeRoots: [join(root, 'node_modules/@types')] }
    const config = { extends: join(root, 'tsconfig.json'), compilerOptions, include: [], files: ['index.mts'] }
    writeFileSync(join(folder, 'index.mts'), text)
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
    return run(process.execPath, [compiler, '-p', folder, '--pretty', 'false'])
  }
  const source = join(root, 'client/index.ts')

  test(
    'right fields compile; a wrong, missing or misspelled one does not',
    async () => {
      expect(await compile(wrongFields(source, { expecting: true }))).toEqual({ code: 0, output: '' })
    },
    TIMEOUT_MS,
  )

  test(
    'without expecting them, each wrong line fails the compilation',
    async () => {
      const { code, output } = await compile(wrongFields(source, { expecting: false }))
      expect(code).toBe(1)
      expect(expectedErrors).toBeGreaterThan(20)
      expect(errorsIn(output)).toBe(expectedErrors)
    },
    TIMEOUT_MS,
  )
})
