import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** The address of the platform in every example. */
const ADDRESS = /https?:\/\/(127\.0\.0\.1:8000|experiments\.example\.com)/g

export const readDocument = (path: string) => readFileSync(join(ROOT, path), 'utf8')

/** The fenced blocks of a document, in order, with the language of each. */
export const blocksOf = (markdown: string) =>
  [...markdown.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, language = '', code = '']) => ({ language, code }))

export const codeOf = (markdown: string, language: string) =>
  blocksOf(markdown)
    .filter((block) => block.language === language)
    .map(({ code }) => code)

/** A section with its heading, up to the next heading of the second level. */
export function sectionOf(markdown: string, title: string): string {
  const section = markdown.split(/^(?=## )/m).find((text) => text.startsWith(`## ${title}\n`))
  if (!section) throw new Error(`There is no section "${title}"`)
  return section
}

/** An example as a reader has it who runs the platform at another address. */
export const atAddress = (code: string, url: string) => code.replaceAll(ADDRESS, url)

/**
 * Writes a TypeScript example into a folder of its own, where it finds the packages of this repository and the client.
 * @param packages the folder of its packages; this repository's unless given
 */
export function writeExample(code: string, url: string, packages = join(ROOT, 'node_modules')) {
  const folder = mkdtempSync(join(tmpdir(), 'example-'))
  symlinkSync(packages, join(folder, 'node_modules'))
  const source = (path: string) => `'${pathToFileURL(join(ROOT, path)).href}'`
  const file = join(folder, 'example.mts')
  const program = atAddress(code, url)
    .replaceAll("'experimentation-platform-client/openfeature'", source('client/openfeature.ts'))
    .replaceAll("'experimentation-platform-client'", source('client/index.ts'))
  writeFileSync(file, program)
  return { file, remove: () => rmSync(folder, { recursive: true, force: true }) }
}
