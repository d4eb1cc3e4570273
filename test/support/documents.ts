import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Matches the address of the platform in examples. */
const ADDRESS = /https?:\/\/(127\.0\.0\.1:8000|experiments\.example\.com)/g

export const readDocument = (path: string) => readFileSync(join(ROOT, path), 'utf8')

/** Finds the fenced blocks of a document, in order, each with its language. */
export const blocksOf = (markdown: string) =>
  [...markdown.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, language = '', code = '']) => ({ language, code }))

export const codeOf = (markdown: string, language: string) =>
  blocksOf(markdown)
    .filter((block) => block.language === language)
    .map(({ code }) => code)

/** Returns a section with its heading, up to the next heading of the second level. @throws Error if there is none */
export function sectionOf(markdown: string, title: string): string {
  const section = markdown.split(/^(?=## )/m).find((text) => text.startsWith(`## ${title}\n`))
  if (!section) throw new Error(`There is no section "${title}"`)
  return section
}

/** Replaces the address of the platform in an example. */
export const atAddress = (code: string, url: string) => code.replaceAll(ADDRESS, url)

/**
 * Writes a TypeScript example into its own folder, where it can import the client and this repository's packages.
 * @param packages the folder of packages that it imports; default: this repository's
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
