import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { routerDeclarations } from './router-declarations.ts'

/** Builds client/dist, all that the package holds: JavaScript for Node 20 and browsers, and declarations that need no server. */

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const emitted = (path: string) => readFileSync(here(`dist/emitted/${path}`), 'utf8')

rmSync(here('dist'), { recursive: true, force: true })
await build({
  entryPoints: [here('index.ts'), here('openfeature.ts')],
  outdir: here('dist'),
  bundle: true,
  packages: 'external',
  format: 'esm',
  platform: 'neutral',
  target: ['es2022', 'node20'],
  logLevel: 'warning',
})
mkdirSync(here('dist/emitted'), { recursive: true })
try {
  emitDeclarations()
  writeFileSync(here('dist/router.d.ts'), routerDeclarations(emitted))
  writeFileSync(here('dist/index.d.ts'), entryDeclarations())
  writeHookDeclarations('openfeature')
} finally {
  rmSync(here('dist/emitted'), { recursive: true, force: true })
}
for (const name of readdirSync(here('dist')))
  console.log(`client/dist/${name}  ${statSync(here(`dist/${name}`)).size} bytes`)

/**
 * The compiler writes declarations of all that the client's types reach, services included. Where the type of something
 * in those cannot be named (TS4058 and its like) it says so; that matters only in the files that are used.
 */
function emitDeclarations() {
  const compiler = fileURLToPath(new URL('bin/tsc', import.meta.resolve('typescript/package.json')))
  const { stdout } = spawnSync(process.execPath, [compiler, '-p', here('tsconfig.build.json'), '--pretty', 'false'], {
    encoding: 'utf8',
    cwd: here('..'),
  })
  const used = /^(client\/|server\/([\w-]+\/)?(router|schema|trpc|wire)\.ts)/
  const faults = stdout.split('\n').filter((line) => /error TS/.test(line))
  const serious = faults.filter((line) => used.test(line) || !/error TS40\d\d/.test(line))
  if (serious.length > 0) throw new Error(serious.join('\n'))
}

function entryDeclarations(): string {
  const text = emitted('client/index.d.ts').replaceAll('../server/router.ts', './router.js')
  const strange = [...text.matchAll(/from '([^']+)'/g)].filter(
    ([, from]) => from !== './router.js' && !from?.startsWith('@trpc/'),
  )
  if (strange.length > 0) throw new Error(`index.d.ts needs more than this package has: ${strange.join(', ')}`)
  return text
}

/** Of a file that needs nothing of the server, and of those that it imports. */
function writeHookDeclarations(name: string) {
  const text = emitted(`client/${name}.d.ts`)
  const imported = new Set([...text.matchAll(/(?:from |import\()["']([^"']+)["']/g)].map(([, from = '']) => from))
  writeFileSync(here(`dist/${name}.d.ts`), text.replaceAll(/(["']\.\/[\w-]+)\.ts(["'])/g, '$1.js$2'))
  for (const from of imported) {
    const [, local] = /^\.\/(openfeature-[\w-]+)\.ts$/.exec(from) ?? []
    if (local) writeHookDeclarations(local)
    else if (from !== '@openfeature/core') throw new Error(`${name}.d.ts needs ${from}, which callers may not have`)
  }
}
