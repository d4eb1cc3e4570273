import { Session } from 'node:inspector/promises'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { readStatements, timeStatements } from './statements.ts'

/**
 * Is preloaded into every server of a bench. Reports the server's CPU time, memory, stalls and SQL statements, and
 * profiles the server.
 */
export type Question =
  | 'cpu'
  | 'memory'
  | 'collect'
  | 'stalls'
  | 'stalled'
  | 'profile'
  | 'profiled'
  | 'time statements'
  | 'statements'

export type Memory = { rssBytes: number; peakRssBytes: number; heapBytes: number }

const STALL_RESOLUTION_MS = 1

let opened: Session | undefined
let stalls: ReturnType<typeof monitorEventLoopDelay> | undefined

/** Opens the session when it is first needed, because an open session costs time. */
function inspector(): Session {
  if (!opened) {
    opened = new Session()
    opened.connect()
  }
  return opened
}

async function answer(question: Question): Promise<unknown> {
  switch (question) {
    case 'cpu': {
      const { user, system } = process.cpuUsage()
      return user + system
    }
    case 'memory': {
      const { rss, heapUsed } = process.memoryUsage()
      const memory: Memory = {
        rssBytes: rss,
        peakRssBytes: process.resourceUsage().maxRSS * 1024,
        heapBytes: heapUsed,
      }
      return memory
    }
    case 'collect':
      return inspector().post('HeapProfiler.collectGarbage')
    case 'stalls':
      stalls?.disable()
      stalls = monitorEventLoopDelay({ resolution: STALL_RESOLUTION_MS })
      stalls.enable()
      return
    case 'stalled':
      // The longest pause since `stalls`, in milliseconds. The wait lets a pause that has not ended be recorded.
      await new Promise((resolve) => setTimeout(resolve, 2 * STALL_RESOLUTION_MS))
      return (stalls?.max ?? 0) / 1e6
    case 'profile':
      await inspector().post('Profiler.enable')
      await inspector().post('Profiler.setSamplingInterval', { interval: 250 })
      return inspector().post('Profiler.start')
    case 'profiled':
      return (await inspector().post('Profiler.stop')).profile
    case 'time statements':
      return timeStatements()
    case 'statements':
      return readStatements()
  }
}

process.on('message', async (question: Question) => process.send?.({ answer: (await answer(question)) ?? null }))
process.on('disconnect', () => process.exit())
