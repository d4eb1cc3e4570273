import { benchDecisions } from './decisions.ts'
import { benchEmbedded } from './embedded.ts'
import { benchEvaluate } from './evaluate.ts'
import { benchEvents } from './events.ts'
import { benchMemory } from './memory.ts'
import { benchMetrics } from './metrics.ts'
import { benchMove } from './move.ts'
import { benchResults } from './results.ts'
import { benchSnapshot } from './snapshot.ts'
import { benchStatistics } from './statistics.ts'
import { benchStreams } from './streams.ts'
import { benchTotals } from './totals.ts'

/** Runs `npm run bench -- <name> [options]`. Each bench answers one question and prints a table. */
const benches: Record<string, (options: string[]) => Promise<void>> = {
  decisions: benchDecisions,
  embedded: benchEmbedded,
  evaluate: benchEvaluate,
  events: benchEvents,
  memory: benchMemory,
  metrics: benchMetrics,
  move: benchMove,
  results: benchResults,
  snapshot: benchSnapshot,
  statistics: benchStatistics,
  streams: benchStreams,
  totals: benchTotals,
}

const [name = '', ...options] = process.argv.slice(2)
const bench = benches[name]
if (bench) await bench(options)
else {
  console.error(`Usage: npm run bench -- ${Object.keys(benches).join(' | ')} [--help]`)
  process.exitCode = 1
}
