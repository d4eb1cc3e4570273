import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))
export const root = path('../..')
export const compiler = path('../../node_modules/typescript/bin/tsc')

const text = readFileSync(path('fixtures/wrong-fields.ts'), 'utf8')
const EXPECTATION = /^ *\/\/ @ts-expect-error.*\n/gm

/** The number of lines of the fixture that must fail to compile. */
export const expectedErrors = [...text.matchAll(EXPECTATION)].length

/**
 * Reads the fixture with right and wrong uses of the client.
 * @param client the path or package from which the fixture imports the client
 * @param expecting false removes the comments that make the compiler expect the errors
 */
export function wrongFields(client: string, { expecting }: { expecting: boolean }): string {
  const imported = text.replace('../../../client/index.ts', client)
  return expecting ? imported : imported.replaceAll(EXPECTATION, '')
}

export const errorsIn = (output: string) => [...output.matchAll(/error TS\d+/g)].length
