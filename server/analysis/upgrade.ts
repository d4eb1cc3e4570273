import { type Format1, fromFormat1 } from './format-1.ts'
import { type Format2, fromFormat2 } from './format-2.ts'
import { type Format3, fromFormat3 } from './format-3.ts'
import { FORMAT, type RunStatistics } from './statistics.ts'

/** Stored statistics, in the format of the engine that stored them. Without a number, the format is 1. */
export type Stored = { format?: number }

/** Converts statistics of each older format to the next format. */
const UPGRADES: Record<number, (older: Stored) => Stored> = {
  1: (older) => fromFormat1(older as Format1),
  2: (older) => fromFormat2(older as Format2),
  3: (older) => fromFormat3(older as Format3),
}

/** Converts stored statistics to the current format. @throws Error for a format that this engine does not know */
export function upgrade(stored: Stored): RunStatistics {
  let statistics = stored
  for (let format = stored.format ?? 1; format !== FORMAT; format = statistics.format ?? 1) {
    const next = UPGRADES[format]
    if (!next) throw new Error(`Statistics of format ${format} are unknown to this engine, which knows 1 to ${FORMAT}`)
    statistics = next(statistics)
  }
  return statistics as RunStatistics
}
