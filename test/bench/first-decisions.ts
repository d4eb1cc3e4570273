import { median } from 'simple-statistics'
import { openBareCommits } from './bare-commits.ts'
import type { Case } from './decisions.ts'
import type { Generator } from './load.ts'
import type { BenchPlatform } from './platform.ts'
import { machine, round, writeResult } from './report.ts'

const WARM_UP_SECONDS = 3
/** At the fewest connections; see `compareFirst`. */
const TARGET = 'target: below 2 at the fewest connections, and at least 6,000 decisions per second at 256'

type Load = { perSecond: number; p50_ms: number; p99_ms: number }
type Row = Load & { round: number; of: string; commits: number }

/**
 * Compares first decisions at several numbers of connections with bare commits: as many clients as the fewest
 * connections, each inserting one row and waiting for its commit. Before each load the commits are measured again, so
 * that noise of the machine affects both.
 * @param caseFor makes the case of new users for a number of connections
 * @param measure loads the platform, and verifies that every answered decision is stored
 */
export async function compareFirst(options: {
  platform: BenchPlatform
  generator: Generator
  connections: readonly number[]
  rounds: number
  seconds: number
  caseFor: (connections: number) => Promise<Case>
  measure: (found: Case, seconds: number) => Promise<Load & { cpuMicros: number }>
}): Promise<void> {
  const { platform, generator, connections, rounds, seconds, caseFor, measure } = options
  const clients = Math.min(...connections)
  const bare = await openBareCommits(platform.databaseUrl, clients)
  const cases = new Map<number, Case>()
  for (const count of connections) cases.set(count, await caseFor(count))
  const rows: (Row & { cpuMicros?: number })[] = []
  for (const found of cases.values()) await measure(found, WARM_UP_SECONDS)
  for (let number = 1; number <= rounds; number++)
    for (const [count, found] of cases) {
      const commits = await bare.load(Math.max(1, seconds / 2))
      rows.push({ round: number, of: 'bare commits', commits: commits.p50_ms, ...commits })
      const { perSecond, p50_ms, p99_ms, cpuMicros } = await measure(found, seconds)
      rows.push({ round: number, of: String(count), commits: commits.p50_ms, perSecond, p50_ms, p99_ms, cpuMicros })
    }
  await bare.close()

  const ratios = (of: Row[]) => of.map((row) => row.p50_ms / row.commits)
  const summary = ['bare commits', ...[...cases.keys()].map(String)].map((of) => {
    const own = rows.filter((row) => row.of === of)
    return {
      of: of === 'bare commits' ? `bare commits, ${clients} clients` : `decisions, ${of} connections`,
      'per second': Math.round(median(own.map((row) => row.perSecond))),
      'p50 ms': round(median(own.map((row) => row.p50_ms)), 2),
      'p99 ms': round(median(own.map((row) => row.p99_ms)), 1),
      'p50 of a commit': round(median(ratios(own)), 2),
      'by round': ratios(own)
        .map((ratio) => round(ratio, 2))
        .join(' '),
      'CPU µs': round(median(own.map((row) => row.cpuMicros ?? 0)), 0) || '',
    }
  })
  const title = [...cases.values()][0]?.title
  console.log(`\n${title}: ${generator.name}; ${rounds} rounds of ${seconds} s, medians`)
  console.table(summary)
  console.log(`Every answered decision is stored once; ${TARGET}`)
  writeResult('decisions-first', { generator: generator.name, machine: machine(), connections, seconds, summary, rows })
}
