import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const PURE = ['evaluation', 'statistics', 'analysis']
const REFERENCE = 'server/statistics/reference/'
const TOOLS = ['http', 'database', 'definitions', 'cache', 'commands', 'docs', ...PURE]

type Import = { from: string; to: string; typeOnly: boolean }

/** Lists the imports of files: paths within this repository, and names of packages. */
function importsOf(pattern: string): Import[] {
  return globSync(pattern, { cwd: root, exclude: (path) => /(^|\/)(node_modules|dist)(\/|$)/.test(path) }).flatMap(
    (from) => {
      const code = readFileSync(join(root, from), 'utf8')
      return [...code.matchAll(/^(?:import|export)\s+(type\s)?[^'"]*?from\s+'([^']+)'/gm)].map(
        ([, type, target = '']) => ({
          from,
          to: target.startsWith('.') ? relative(root, join(root, dirname(from), target)) : target,
          typeOnly: type !== undefined,
        }),
      )
    },
  )
}

const all = importsOf('{server,client}/**/*.{ts,tsx}')
const folder = (path: string) => path.split('/').slice(0, -1).join('/')
const domainOf = (path: string) => {
  const [top, name, file] = path.split('/')
  return top === 'server' && file !== undefined && name && !TOOLS.includes(name) ? name : undefined
}
/** Matches a kind of file by the end of its name: `schema.ts`, or `layer-schema.ts` if a folder has several. */
const isA = (kind: string, path: string) => new RegExp(`/([a-z]+-)?${kind}\\.ts$`).test(path)
const isLocal = (path: string) => path.startsWith('server/') || path.startsWith('client/')

const isOwnSchema = (to: string, from: string) => isA('schema', to) && folder(to) === folder(from)

/** The imports that each kind of file may have. The table in ARCHITECTURE.md says the same. */
const table: { kind: string; is: (path: string) => boolean; may: (to: string, from: string) => boolean }[] = [
  {
    kind: 'http/*',
    is: (path) => path.startsWith('server/http/'),
    may: (to, from) =>
      /^server\/(http\/.*|router|context|trpc|wire|errors|fields)\.ts$/.test(to) ||
      (from === 'server/http/short-answers.ts' && /\/(decode|recall|service)\.ts$/.test(to)) ||
      (from.startsWith('server/http/ofrep') && to === 'server/flags/evaluate.ts') ||
      (/^server\/http\/(exports|uploads|streams-openapi)\.ts$/.test(from) &&
        /^server\/(events|assignments)\/(export|import|schema)\.ts$/.test(to)) ||
      (from === 'server/http/health.ts' && to === 'server/totals/progress.ts') ||
      (from === 'server/http/event-streams.ts' && /^server\/(definitions\/watch|auth\/key-ring)\.ts$/.test(to)),
  },
  {
    kind: 'trpc.ts',
    is: (path) => path === 'server/trpc.ts',
    may: (to) => /^server\/(context|errors|sentences|database\/errors|auth\/schema|auth\/key-ring)\.ts$/.test(to),
  },
  {
    kind: '<domain>/router.ts',
    is: (path) => domainOf(path) !== undefined && isA('router', path),
    may: (to, from) => /^server\/(trpc|wire)\.ts$/.test(to) || folder(to) === folder(from),
  },
  {
    kind: '<domain>/schema.ts',
    is: (path) => domainOf(path) !== undefined && isA('schema', path),
    may: (to, from) =>
      /^server\/(wire|fields)\.ts$/.test(to) ||
      isA('schema', to) ||
      (from === 'server/results/schema.ts' && /^server\/analysis\/(exclusions|snake-case)\.ts$/.test(to)),
  },
  {
    kind: '<domain>/entity.ts',
    is: (path) => path.startsWith('server/') && isA('entity', path),
    may: (to, from) =>
      to === 'server/wire.ts' ||
      isA('entity', to) ||
      isOwnSchema(to, from) ||
      to === `${folder(from)}/columns.ts` ||
      (from === 'server/totals/entity.ts' && /^server\/analysis\/(exclusions|sums)\.ts$/.test(to)) ||
      (from === 'server/results/entity.ts' && to === 'server/analysis/statistics.ts'),
  },
  {
    kind: '<domain>/queries.ts',
    is: (path) => path.startsWith('server/') && isA('queries', path),
    may: (to, from) =>
      to === 'server/wire.ts' ||
      isOwnSchema(to, from) ||
      ['columns.ts', 'stored.ts', 'flag-queries.ts'].some((own) => to === `${folder(from)}/${own}`) ||
      /^server\/totals\/(adding|counting|progress)\.ts$/.test(to) ||
      /^server\/database\/(locks|sql)\.ts$/.test(to) ||
      to.startsWith('server/evaluation/'),
  },
  {
    kind: '<domain>/* (services)',
    is: (path) => domainOf(path) !== undefined && !isA('(router|schema|entity|queries)', path),
    may: (to, from) =>
      /^server\/(wire|errors|fields|sentences)\.ts$/.test(to) ||
      /^server\/(cache|definitions|evaluation|statistics|analysis)\//.test(to) ||
      /^server\/database\/(background|concurrency-limit|errors|group-commit|locks|poller|retry|sql)\.ts$/.test(to) ||
      (domainOf(to) !== undefined && (domainOf(to) === domainOf(from) || !isA('(router|schema|queries)', to))),
  },
  {
    kind: 'docs/*',
    is: (path) => path.startsWith('server/docs/'),
    may: (to) => /^server\/(docs\/.*|app|config|http\/openapi)\.ts$/.test(to),
  },
  {
    kind: 'commands/*',
    is: (path) => path.startsWith('server/commands/'),
    may: (to) => /^server\/(commands|database|totals|analysis)\//.test(to) || to === 'server/config.ts',
  },
  {
    kind: 'definitions/*',
    is: (path) => path.startsWith('server/definitions/'),
    may: (to) =>
      /^server\/(definitions|cache|evaluation)\//.test(to) ||
      /^server\/(wire|errors|database\/(background|locks|retry|sql))\.ts$/.test(to),
  },
  {
    kind: 'cache/*',
    is: (path) => path.startsWith('server/cache/'),
    may: (to) => to.startsWith('server/cache/'),
  },
  {
    kind: 'evaluation/*, statistics/*, analysis/*',
    is: (path) => PURE.some((name) => path.startsWith(`server/${name}/`)) && !path.startsWith(REFERENCE),
    may: (to, from) =>
      folder(to) === folder(from) || (folder(from) === 'server/analysis' && folder(to) === 'server/statistics'),
  },
  {
    kind: 'statistics/reference/*',
    is: (path) => path.startsWith(REFERENCE),
    may: (to) => to.startsWith('server/statistics/'),
  },
  {
    kind: 'client/*',
    is: (path) => path.startsWith('client/'),
    may: (to) => to.startsWith('client/') || to.startsWith('server/evaluation/') || to === 'server/router.ts',
  },
]

describe('the code base', () => {
  test.each(table)('lets $kind import only the files of its row', ({ is, may }) => {
    const imports = all.filter(({ from, to }) => is(from) && isLocal(to))
    expect(imports.filter(({ from, to }) => !may(to, from))).toEqual([])
  })

  test('has enough files and imports for these tests to mean something', () => {
    expect(all.length).toBeGreaterThan(250)
    expect(all.filter(({ from }) => from === 'server/app.ts').length).toBeGreaterThan(15)
  })

  test('lets the client import only types from the server, apart from the pure evaluation', () => {
    const values = all.filter(
      ({ from, to, typeOnly }) =>
        from.startsWith('client/') && to.startsWith('server/') && !typeOnly && !to.startsWith('server/evaluation/'),
    )
    expect(values).toEqual([])
  })

  test('lets the product import nothing from the reference methods', () => {
    expect(all.filter(({ from, to }) => to.startsWith(REFERENCE) && !from.startsWith(REFERENCE))).toEqual([])
  })

  test('keeps clock, randomness, environment and I/O out of pure folders', () => {
    for (const name of PURE)
      for (const file of globSync(`server/${name}/**/*.ts`, { cwd: root })) {
        const code = readFileSync(join(root, file), 'utf8')
        expect(code, file).not.toMatch(/Date\.now|new Date|performance\.|Math\.random|process\.|node:(?!crypto)/)
      }
  })

  test('lets only the module of distributions call the library of distributions', () => {
    const callers = all.filter(({ to }) => to.startsWith('@stdlib/')).map(({ from }) => from)
    expect([...new Set(callers)]).toEqual(['server/statistics/distributions.ts'])
  })

  test('has no circle of imports among files', () => {
    const targets = new Map<string, string[]>()
    for (const { from, to, typeOnly } of all)
      if (isLocal(to) && !typeOnly) targets.set(from, [...(targets.get(from) ?? []), to])
    const circles: string[][] = []
    const visit = (file: string, path: string[]) => {
      if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file])
      else if (!done.has(file)) {
        for (const next of targets.get(file) ?? []) visit(next, [...path, file])
        done.add(file)
      }
    }
    const done = new Set<string>()
    for (const file of targets.keys()) visit(file, [])
    expect(circles).toEqual([])
  })

  test('has no circle of imports among folders', () => {
    const imported = new Map<string, Set<string>>()
    for (const { from, to, typeOnly } of all) {
      const folders = [folder(from), folder(to)] as const
      // The file of database/ that lists all entities imports the folders of the entities, so it is left out.
      if (typeOnly || from === 'server/database/orm.ts' || folders.some((name) => !name.startsWith('server/'))) continue
      if (folders[0] !== folders[1]) imported.set(folders[0], (imported.get(folders[0]) ?? new Set()).add(folders[1]))
    }
    const reachedFrom = (start: string) => {
      const reached = new Set(imported.get(start))
      for (const name of reached) for (const next of imported.get(name) ?? []) reached.add(next)
      return reached
    }
    expect(imported.size).toBeGreaterThan(10)
    expect([...imported.keys()].filter((name) => reachedFrom(name).has(name))).toEqual([])
  })

  test('has no folder named utils, helpers, common or types, and no server file of 300 lines or more', () => {
    const files = globSync('{server,client}/**/*.{ts,tsx}', {
      cwd: root,
      exclude: (path) => /(^|\/)(node_modules|dist)(\/|$)/.test(path),
    })
    expect(files.filter((file) => /\/(utils|helpers|common|types)\//.test(file))).toEqual([])
    expect(files.filter((file) => readFileSync(join(root, file), 'utf8').split('\n').length > 300)).toEqual([])
  })
})
