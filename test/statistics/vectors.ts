import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** One reference case: an input, and the figures of another implementation. */
export type Case = {
  name: string
  input: unknown
  expected: Record<string, unknown>
  /** The largest allowed relative difference from an expected figure. */
  tolerance: number
  /** The largest allowed absolute difference, for keys that are not relative only; 1e-12 by default. */
  abs_tolerance?: number
  source: string
}

export type Group = { group: string; what: string; cases: Case[] }

type VectorFile = { comparison: { relative_only: string[] }; groups: Group[] }

export const FIXTURE = fileURLToPath(new URL('../fixtures/statistics.json', import.meta.url))

/** The reference vectors. The file and compare.ts describe the rule of comparison. */
export const vectors: VectorFile = JSON.parse(readFileSync(FIXTURE, 'utf8'))

export function casesOf(name: string): Case[] {
  const found = vectors.groups.find(({ group }) => group === name)
  if (found === undefined) throw new Error(`The reference file has no group ${name}`)
  return found.cases
}
