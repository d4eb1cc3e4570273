import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createContext, runInContext } from 'node:vm'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { oneDatabase, openApp, type TestApp } from '../support/app.ts'
import { compiler, errorsIn, expectedErrors, root, wrongFields } from './fixture.ts'
import { run, runWell } from './run.ts'

const PACKAGE = 'experimentation-platform-client'
const OPENFEATURE = `${PACKAGE}/openfeature`
const TIMEOUT_MS = 120_000
const INSTALL_TIMEOUT_MS = 300_000

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** The path of a Node 20, the oldest version that the package supports, if this machine has one. */
const oldNode = process.env.TEST_NODE_20 ?? '/usr/bin/node'
const oldNodeVersion = existsSync(oldNode)
  ? spawnSync(oldNode, ['--version'], { encoding: 'utf8' }).stdout.trim()
  : 'none'
const hasOldNode = oldNodeVersion.startsWith('v20.')
if (!hasOldNode)
  console.warn(`Skipped: the client on Node 20. ${oldNode} is ${oldNodeVersion}; set TEST_NODE_20 to the path of one.`)

describe('the packed client', () => {
  let app: TestApp
  let folder: string
  let project: string
  beforeAll(async () => {
    app = await openApp(oneDatabase())
    folder = mkdtempSync(join(tmpdir(), 'client-package-'))
    project = join(folder, 'project')
    mkdirSync(project)
    await runWell('npm', ['pack', '--pack-destination', folder], { cwd: join(root, 'client') })
    const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz')) ?? ''
    writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
    const { typescript, '@types/node': nodeTypes } = manifest.devDependencies
    const packages = [join(folder, tarball), `typescript@${typescript}`, `@types/node@${nodeTypes}`]
    await runWell('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', ...packages], { cwd: project })
  }, INSTALL_TIMEOUT_MS)
  afterAll(async () => {
    await app?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  /**
   * Compiles the project's files with the compiler installed in the project. Checks the libraries' declarations too.
   */
  function compile(files: Record<string, string>, options: object = {}) {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(project, name), text)
    const compilerOptions = {
      strict: true,
      skipLibCheck: false,
      target: 'es2022',
      module: 'nodenext',
      types: ['node'],
      outDir: 'out',
      rootDir: '.',
      ...options,
    }
    writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: Object.keys(files) }))
    const installed = join(project, 'node_modules/typescript/bin/tsc')
    return run(process.execPath, [installed, '--pretty', 'false'], { cwd: project })
  }
  /**
   * Bundles a page's script into one file that needs nothing of Node.
   * @returns the script and the names of its sources
   */
  async function bundle(page: string) {
    writeFileSync(join(project, 'page.ts'), page)
    const { outputFiles, metafile } = await build({
      entryPoints: [join(project, 'page.ts')],
      bundle: true,
      platform: 'browser',
      format: 'iife',
      minify: true,
      write: false,
      metafile: true,
      logLevel: 'silent',
    })
    const imports = Object.values(metafile.outputs).flatMap((output) => output.imports)
    expect(imports).toEqual([])
    const script = outputFiles[0]?.text ?? ''
    expect(script).not.toMatch(/node:|require\(/)
    return { script, files: Object.keys(metafile.inputs).map((path) => path.split('/').pop()) }
  }
  const quickstart = () =>
    readFileSync(join(root, 'client/examples/quickstart.ts'), 'utf8').replace("'../index.ts'", `'${PACKAGE}'`)

  test('contains its JavaScript and its declarations, and no file of the server', () => {
    const files = readdirSync(join(project, 'node_modules', PACKAGE), { recursive: true }).sort()
    expect(files).toEqual([
      'README.md',
      'dist',
      'dist/index.d.ts',
      'dist/index.js',
      'dist/openfeature-delivery.d.ts',
      'dist/openfeature-entry.d.ts',
      'dist/openfeature-reporter.d.ts',
      'dist/openfeature.d.ts',
      'dist/openfeature.js',
      'dist/router.d.ts',
      'package.json',
    ])
    const dependencies = Object.keys(manifest.dependencies)
    const isInstalled = (name: string) => existsSync(join(project, 'node_modules', name))
    expect(dependencies.filter(isInstalled)).toEqual(['@trpc/client', '@trpc/server'])
    expect(isInstalled('@openfeature/core')).toBe(false)
  })

  test(
    'compiles strictly for Node and for browsers, including the declarations of libraries',
    async () => {
      const files = { 'wrong-fields.ts': wrongFields(PACKAGE, { expecting: true }) }
      expect(await compile(files)).toEqual({ code: 0, output: '' })
      const lib = ['es2022', 'dom', 'esnext.disposable']
      const bundled = { lib, types: [], module: 'esnext', moduleResolution: 'bundler' }
      expect(await compile(files, bundled)).toEqual({ code: 0, output: '' })
      // Without the DOM, tRPC's declarations lack the name RequestInfo, so here the libraries are used but not checked.
      const withoutDom = { lib: ['es2022'], skipLibCheck: true }
      expect(await compile(files, withoutDom)).toEqual({ code: 0, output: '' })
    },
    TIMEOUT_MS,
  )

  test(
    'makes the compiler report each wrong field',
    async () => {
      const { code, output } = await compile({ 'wrong-fields.ts': wrongFields(PACKAGE, { expecting: false }) })
      expect(code).toBe(2)
      expect(errorsIn(output)).toBe(expectedErrors)
    },
    TIMEOUT_MS,
  )

  test(
    'has the same types as the sources in every procedure',
    async () => {
      const comparison = (expected: string) => `
        import type { Inputs as SourceInputs, Outputs as SourceOutputs, PlatformError as SourceError } from '${root}client/index.ts'
        import type { Inputs, Outputs, PlatformError } from '${project}/node_modules/${PACKAGE}/dist/index.js'
        type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
        type Differing<A, B> = { [D in keyof A]: D extends keyof B
          ? { [P in keyof A[D]]: P extends keyof B[D] ? (Same<A[D][P], B[D][P]> extends true ? never : P) : P }[keyof A[D]]
          : D }[keyof A]
        type Altered = Omit<Inputs, 'users'> & { users: Omit<Inputs['users'], 'get'> & { get: { user_id: number } } }
        export const differing: [Differing<SourceInputs, Inputs>, Differing<SourceOutputs, Outputs>] extends [never, never] ? true : false = ${expected}
        export const more: [Differing<Inputs, SourceInputs>, Differing<Outputs, SourceOutputs>] extends [never, never] ? true : false = ${expected}
        export const errors: Same<SourceError['data'], PlatformError['data']> = ${expected}
        export const altered: Differing<SourceInputs, Altered> = 'get'`
      // One compilation of both: it reads the types of the whole server.
      const names = ['true', 'false'].map((expected) => {
        writeFileSync(join(folder, `expects-${expected}.mts`), comparison(expected))
        return `expects-${expected}.mts`
      })
      const compilerOptions = { typeRoots: [join(root, 'node_modules/@types')] }
      const config = { extends: join(root, 'tsconfig.json'), compilerOptions, include: [], files: names }
      writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
      const { code, output } = await run(process.execPath, [compiler, '-p', folder, '--pretty', 'false'])
      expect([code, errorsIn(output)]).toEqual([1, 3])
      expect(output.match(/expects-\w+/g)).toEqual(Array(3).fill('expects-false'))
    },
    TIMEOUT_MS,
  )

  describe('with the quickstart written against it', () => {
    beforeAll(async () => {
      expect(await compile({ 'quickstart.ts': quickstart() })).toEqual({ code: 0, output: '' })
    }, TIMEOUT_MS)

    const runs = async (node: string) => {
      const environment = { PLATFORM_URL: app.url }
      const output = await runWell(node, [join(project, 'out/quickstart.js')], { cwd: project, environment })
      const [, accepted, duplicates] = /Events: (\d+) accepted, (\d+) duplicates/.exec(output) ?? []
      expect(Number(accepted) + Number(duplicates)).toBeGreaterThan(50)
      expect(output).toMatch(/Winner: treatment/)
    }

    test(`runs on Node ${process.versions.node}`, () => runs(process.execPath))

    test.skipIf(!hasOldNode)(`runs on Node 20 (${oldNode} is ${oldNodeVersion})`, () => runs(oldNode))
  })

  test('can be bundled for browsers without any module of Node, and works there', async () => {
    const entry = `
      import { createClient } from '${PACKAGE}'
      const client = createClient({ url: '${app.url}', apiKey: '${app.api.token}' })
      globalThis.answer = client.events
        .record.mutate({ user_id: 'ada', type: 'click', attributes: {} })
        .then(({ id }) => client.experiments.list.query({}).then((experiments) => ({ id, experiments })))`
    const { script } = await bundle(entry)

    const browser = { fetch, AbortController, AbortSignal, DOMException, setTimeout, clearTimeout, answer: null }
    runInContext(script, createContext(browser))
    expect(await browser.answer).toMatchObject({ id: expect.any(Number), experiments: expect.any(Array) })
  })

  describe('with OpenFeature SDKs installed', () => {
    beforeAll(async () => {
      const names = ['core', 'ofrep-core', 'ofrep-web-provider', 'server-sdk', 'web-sdk'].map(
        (n) => `@openfeature/${n}`,
      )
      const packages = names.map((name) => `${name}@${manifest.devDependencies[name]}`)
      await runWell('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', ...packages], { cwd: project })
    }, INSTALL_TIMEOUT_MS)

    test(
      'compiles the hook and tracking with server and web SDKs',
      async () => {
        const text = readFileSync(join(root, 'test/client/fixtures/openfeature-uses.ts'), 'utf8')
        const files = { 'uses.ts': text.replace('../../../client/openfeature.ts', OPENFEATURE) }
        // The declarations of the web provider need the DOM.
        expect(await compile(files, { skipLibCheck: true })).toEqual({ code: 0, output: '' })
        const bundled = { lib: ['es2022', 'dom'], module: 'esnext', moduleResolution: 'bundler', skipLibCheck: true }
        expect(await compile(files, bundled)).toEqual({ code: 0, output: '' })
        const alone = `import { createReporter } from '${OPENFEATURE}'\nexport const reporter = createReporter({ url: '', apiKey: '' })`
        expect(await compile({ 'alone.ts': alone }, { lib: ['es2022'] })).toEqual({ code: 0, output: '' })
      },
      TIMEOUT_MS,
    )

    describe('with the OpenFeature example written against it', () => {
      beforeAll(async () => {
        const example = readFileSync(join(root, 'client/examples/openfeature.ts'), 'utf8')
          .replace("'../index.ts'", `'${PACKAGE}'`)
          .replace("'../openfeature.ts'", `'${OPENFEATURE}'`)
        const files = { 'openfeature.ts': example }
        expect(await compile(files, { skipLibCheck: true })).toEqual({ code: 0, output: '' })
      }, TIMEOUT_MS)

      const runs = async (node: string) => {
        const environment = { PLATFORM_URL: app.url }
        const output = await runWell(node, [join(project, 'out/openfeature.js')], { cwd: project, environment })
        expect(output).toMatch(/^40 visitors, 20 of whom were shown the button\n/)
      }

      test(`runs on Node ${process.versions.node}`, () => runs(process.execPath))

      test.skipIf(!hasOldNode)(`runs on Node 20 (${oldNode} is ${oldNodeVersion})`, () => runs(oldNode))
    })

    test('can be bundled for browsers without dependencies, and reports events from there', async () => {
      const { script, files } = await bundle(`
        import { createReporter, exposureHook } from '${OPENFEATURE}'
        const reporter = createReporter({ url: '${app.url}', apiKey: '${app.api.token}' })
        globalThis.hook = exposureHook(reporter)
        reporter.record({ user_id: 'ada', type: 'seen in a browser' })
        globalThis.answer = reporter.close()`)
      expect(files).toEqual(['openfeature.js', 'page.ts'])
      expect(script.length).toBeLessThan(6000)

      const browser = { fetch, AbortController, setTimeout, clearTimeout, performance, crypto, answer: null }
      runInContext(script, createContext(browser))
      await browser.answer
      const events = await app.platform.orm.em
        .fork()
        .execute<{ user_id: string }[]>("select e.user_id from events e where e.type = 'seen in a browser'")
      expect(events).toEqual([{ user_id: 'ada' }])
    })
  })
})
