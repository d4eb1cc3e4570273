import type { Profiler } from 'node:inspector'

export type Share = { where: string; percent: number }
export type SelfTimes = {
  functions: Share[]
  modules: Share[]
  /** By the nearest package or file of the platform on the stack, which includes the work of Node that it caused. */
  callers: Share[]
  idlePercent: number
}

/** Sums the self times of a profile, in per cent of the busy time, largest first. */
export function selfTimes(profile: Profiler.Profile): SelfTimes {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node.callFrame]))
  const parents = new Map(profile.nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node.id])))
  const functions = new Map<string, number>()
  const modules = new Map<string, number>()
  const callers = new Map<string, number>()
  const add = (times: Map<string, number>, where: string, micros: number) =>
    void times.set(where, (times.get(where) ?? 0) + micros)
  let idle = 0
  let busy = 0
  for (const [index, id] of (profile.samples ?? []).entries()) {
    const micros = profile.timeDeltas?.[index] ?? 0
    const frame = nodes.get(id)
    if (!frame || frame.functionName === '(idle)') {
      idle += micros
      continue
    }
    busy += micros
    const file = shortened(frame.url)
    const name = frame.functionName || '(anonymous)'
    const module = file ? moduleOf(file) : name
    add(functions, file ? `${name}  ${file}:${frame.lineNumber + 1}` : name, micros)
    add(modules, module, micros)
    add(callers, callerOf(id) ?? module, micros)
  }

  function callerOf(id: number): string | undefined {
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
      const file = shortened(nodes.get(at)?.url ?? '')
      if (file && !file.startsWith('node:')) return moduleOf(file)
    }
  }
  const shares = (times: Map<string, number>): Share[] =>
    [...times]
      .map(([where, micros]) => ({ where, percent: (100 * micros) / busy }))
      .toSorted((one, other) => other.percent - one.percent)
  return {
    functions: shares(functions),
    modules: shares(modules),
    callers: shares(callers),
    idlePercent: (100 * idle) / (busy + idle),
  }
}

const root = new URL('../../', import.meta.url).href

const shortened = (url: string) =>
  url
    .replace(root, '')
    .replace(/^file:\/\/.*?(?=(node_modules|server|client)\/)/, '')
    .replace(/^.*node_modules\//, 'node_modules/')

/** Names the module of a file, such as `node_modules/@trpc/server`, `server/assignments/service.ts` or `node:http`. */
function moduleOf(file: string): string {
  const found = /^node_modules\/((@[^/]+\/)?[^/]+)/.exec(file)
  if (found) return `node_modules/${found[1]}`
  if (file.startsWith('node:')) return file.startsWith('node:internal') ? file.split('/').slice(0, 2).join('/') : file
  return file.startsWith('server/') ? file : (file.split('/')[0] as string)
}
