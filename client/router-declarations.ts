import { posix } from 'node:path'

/** Types of the server that the router's type mentions but callers never use. They become `object`. */
const hidden = new Set(['server/context.ts Context', 'server/trpc.ts Meta'])
/** Types of packages that the caller's project may lack, and the equal types that replace them. */
const replaced = new Map([['zod JSONType', 'import("./wire.ts").Json']])

const IMPORT_TYPE = /import\("([^"]+)"\)\.(\w+)/g

/**
 * Makes self-contained declarations of the router's type. The compiler writes every input and output in full and leaves
 * references to a few named types. Each of these types is copied, hidden or replaced.
 * @param emitted reads the compiler's declarations of a source file, such as `server/router.d.ts`
 * @throws Error if a reference is left that the caller's project cannot resolve
 */
export function routerDeclarations(emitted: (path: string) => string): string {
  const copied = new Map<string, { from: string; text: string }>()

  const standAlone = (text: string, file: string): string =>
    text.replaceAll(IMPORT_TYPE, (reference: string, from: string, name: string) => {
      if (from.startsWith('@trpc/server')) return reference
      const source = from.startsWith('.') ? posix.join(posix.dirname(file), from) : from
      if (hidden.has(`${source} ${name}`)) return 'object'
      const other = replaced.get(`${source} ${name}`)
      if (other) return standAlone(other, 'server/router.ts')
      if (source === from) throw new Error(`${file} refers to ${name} of ${from}, which the caller's project may lack`)
      copy(source, name)
      return name
    })

  function copy(source: string, name: string) {
    const known = copied.get(name)
    if (known && known.from !== source) throw new Error(`Both ${known.from} and ${source} declare ${name}`)
    if (known) return
    const text = namedType(emitted(source.replace(/\.ts$/, '.d.ts')), name)
    if (!text) throw new Error(`${source} has no declaration "export type ${name} = …" that can be copied`)
    copied.set(name, { from: source, text: '' })
    copied.set(name, { from: source, text: standAlone(text, source) })
  }

  const router = standAlone(emitted('server/router.d.ts'), 'server/router.ts')
  if (/^import /m.test(router)) throw new Error("server/router.d.ts imports files that the caller's project lacks")
  const types = [...copied.values()].map(({ text }) => text).join('')
  return types + router.replace('export declare const', 'declare const')
}

/**
 * Finds `type Name = …;` in the compiler's layout, with the comment before it. The type is one line, or a block that
 * ends with a brace at the margin.
 */
function namedType(text: string, name: string): string | undefined {
  const pattern = new RegExp(
    `^(?:/\\*\\*[^\\n]*\\*/\\n)?export type ${name} = (?:[^\\n]*;|[^\\n]*\\{\\n(?: [^\\n]*\\n)*\\}[^\\n]*;)\\n`,
    'm',
  )
  return pattern.exec(text)?.[0]
}
