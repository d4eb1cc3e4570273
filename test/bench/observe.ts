import { Session } from 'node:inspector/promises'
import { monitorEventLoopDelay } from 'node:perf_hooks'

/** Preloaded into every server of a bench: tells its CPU time, memory and stalls, and profiles it, when the bench asks. */
export type Question = 'cpu' | 'memory' | 'collect' | 'stalls' | 'stalled' | 'profile' | 'profiled'

export type Memory = { rssBytes: number; peakRssBytes: number; heapBytes: number }

const STALL_RESOLUTION_MS = 1

let opened: Session | undefined
let stalls: ReturnType<typeof monitorEventLoopDelay> | undefined

/** Opened when it is first needed: an open one is not for free. */
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
      // The longest pause since `stalls`, in milliseconds; it may be going on still.
      await new Promise((resolve) => setTimeout(resolve, 2 * STALL_RESOLUTION_MS))
      return (stalls?.max ?? 0) / 1e6
    case 'profile':
      await inspector().post('Profiler.enable')
      await inspector().post('Profiler.setSamplingInterval', { interval: 250 })
      return inspector().post('Profiler.start')
    case 'profiled':
      return (await inspector().post('Profiler.stop')).profile
  }
}

process.on('message', async (question: Question) => process.send?.({ answer: (await answer(question)) ?? null }))
process.on('disconnect', () => process.exit())
