import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { routerDeclarations } from './router-declarations.ts'

/**
 * Builds client/dist, the whole content of the package: JavaScript for Node 20 and browsers, and type declarations that
 * need no file of the server.
 */

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
 * Writes the declarations of every file that the client's types reach, services included. The compiler reports types in
 * these files that it cannot name (TS4058 and similar errors). Such errors matter only in the files that the package
 * uses.
 * @throws Error with the compiler's messages if one of them matters
 */
function emitDeclarations() {
  const compiler = fileURLToPath(new URL('bin/tsc', import.meta.resolve('typescript/package.json')))
  const { stdout } = spawnSync(process.execPath, [compiler, '-p', here('tsconfig.build.json'), '--pretty', 'false'], {
    encoding: 'utf8',
    cwd: here('..'),
  })
  const used = /^(client\/|server\/([\w-]+\/)?(router|schema|trpc|wire)\.ts)/
  const errors = stdout.split('\n').filter((line) => /error TS/.test(line))
  const relevant = errors.filter((line) => used.test(line) || !/error TS40\d\d/.test(line))
  if (relevant.length > 0) throw new Error(relevant.join('\n'))
}

function entryDeclarations(): string {
  const text = emitted('client/index.d.ts').replaceAll('../server/router.ts', './router.js')
  const missing = [...text.matchAll(/from '([^']+)'/g)].filter(
    ([, from]) => from !== './router.js' && !from?.startsWith('@trpc/'),
  )
  if (missing.length > 0) throw new Error(`index.d.ts imports modules that the package lacks: ${missing.join(', ')}`)
  return text
}

/** Writes the declarations of a file that does not import the server, and of the files that this file imports. */
function writeHookDeclarations(name: string) {
  const text = emitted(`client/${name}.d.ts`)
  const imported = new Set([...text.matchAll(/(?:from |import\()["']([^"']+)["']/g)].map(([, from = '']) => from))
  writeFileSync(here(`dist/${name}.d.ts`), text.replaceAll(/(["']\.\/[\w-]+)\.ts(["'])/g, '$1.js$2'))
  for (const from of imported) {
    const [, local] = /^\.\/(openfeature-[\w-]+)\.ts$/.exec(from) ?? []
    if (local) writeHookDeclarations(local)
    else if (from !== '@openfeature/core')
      throw new Error(`${name}.d.ts imports ${from}, which the caller's project may lack`)
  }
}
