import { posix } from 'node:path'

/** Types of the server that callers never see: the router only has to mention them. */
const hidden = new Set(['server/context.ts Context', 'server/trpc.ts Meta'])
/** Types of packages that callers need not have, and what says the same here. */
const replaced = new Map([['zod JSONType', 'import("./wire.ts").Json']])

const IMPORT_TYPE = /import\("([^"]+)"\)\.(\w+)/g

/**
 * The router's type as declarations that stand alone. The compiler has written every input and output out in full; what
 * is left are references to a few named types, which are copied in, hidden or replaced.
 * @param emitted reads what the compiler wrote for a source file, `server/router.d.ts`
 * @throws Error when something is left that callers would not have
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
      if (source === from) throw new Error(`${file} refers to ${name} of ${from}, which callers need not have`)
      copy(source, name)
      return name
    })

  function copy(source: string, name: string) {
    const known = copied.get(name)
    if (known && known.from !== source) throw new Error(`Both ${known.from} and ${source} declare ${name}`)
    if (known) return
    const text = namedType(emitted(source.replace(/\.ts$/, '.d.ts')), name)
    if (!text) throw new Error(`${source} declares no plain type ${name}`)
    copied.set(name, { from: source, text: '' })
    copied.set(name, { from: source, text: standAlone(text, source) })
  }

  const router = standAlone(emitted('server/router.d.ts'), 'server/router.ts')
  if (/^import /m.test(router)) throw new Error('server/router.d.ts imports what callers need not have')
  const types = [...copied.values()].map(({ text }) => text).join('')
  return types + router.replace('export declare const', 'declare const')
}

/** `type Name = …;` as the compiler lays it out, with the comment before it: one line, or closed at the margin. */
function namedType(text: string, name: string): string | undefined {
  const pattern = new RegExp(
    `^(?:/\\*\\*[^\\n]*\\*/\\n)?export type ${name} = (?:[^\\n]*;|[^\\n]*\\{\\n(?: [^\\n]*\\n)*\\}[^\\n]*;)\\n`,
    'm',
  )
  return pattern.exec(text)?.[0]
}
