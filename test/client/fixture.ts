import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))
export const root = path('../..')
export const compiler = path('../../node_modules/typescript/bin/tsc')

const text = readFileSync(path('fixtures/wrong-fields.ts'), 'utf8')
const EXPECTATION = /^ *\/\/ @ts-expect-error.*\n/gm

/** How many lines of the fixture must fail to compile. */
export const expectedErrors = [...text.matchAll(EXPECTATION)].length

/** Right and wrong uses of the client, imported from somewhere. @param expecting false: without expecting the errors */
export function wrongFields(client: string, { expecting }: { expecting: boolean }): string {
  const imported = text.replace('../../../client/index.ts', client)
  return expecting ? imported : imported.replaceAll(EXPECTATION, '')
}

export const errorsIn = (output: string) => [...output.matchAll(/error TS\d+/g)].length
