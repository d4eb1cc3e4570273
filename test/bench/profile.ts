import type { Profiler } from 'node:inspector'

export type Share = { where: string; percent: number }

/** Self time of the busy samples, in per cent, by function and by module; most first. */
export function selfTimes(profile: Profiler.Profile): { functions: Share[]; modules: Share[]; idlePercent: number } {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node.callFrame]))
  const functions = new Map<string, number>()
  const modules = new Map<string, number>()
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
    const place = file ? `${name}  ${file}:${frame.lineNumber + 1}` : name
    functions.set(place, (functions.get(place) ?? 0) + micros)
    const owner = file ? moduleOf(file) : name
    modules.set(owner, (modules.get(owner) ?? 0) + micros)
  }
  const shares = (times: Map<string, number>): Share[] =>
    [...times]
      .map(([where, micros]) => ({ where, percent: (100 * micros) / busy }))
      .toSorted((one, other) => other.percent - one.percent)
  return { functions: shares(functions), modules: shares(modules), idlePercent: (100 * idle) / (busy + idle) }
}

const root = new URL('../../', import.meta.url).href

const shortened = (url: string) =>
  url
    .replace(root, '')
    .replace(/^file:\/\/.*?(?=(node_modules|server|client)\/)/, '')
    .replace(/^.*node_modules\//, 'node_modules/')

/** `node_modules/@trpc/server`, `server`, `node:http`… */
function moduleOf(file: string): string {
  const found = /^node_modules\/((@[^/]+\/)?[^/]+)/.exec(file)
  if (found) return `node_modules/${found[1]}`
  if (file.startsWith('node:')) return file.startsWith('node:internal') ? file.split('/').slice(0, 2).join('/') : file
  return file.startsWith('server/') ? file : (file.split('/')[0] as string)
}
