import { createHash } from 'node:crypto'
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs'
import { ENGINE_VERSION } from '../../../server/analysis/engine.ts'
import type { Cell } from './cells.ts'
import type { CellTally } from './measure.ts'

/** Keeps the results of finished cells in a file, so that an interrupted grid goes on where it stopped. */

export type CellResult = { runs: number; seconds: number; tally: CellTally }
/** @property code names the code that made the results: another code makes new ones. */
export type GridResults = { engine: string; code: string; cells: Record<string, CellResult> }

const FILE = new URL('../../../docs/laboratory/grid.json', import.meta.url)
const ROOT = new URL('../../../', import.meta.url)
const SOURCES = [
  'server/analysis/*.ts',
  'server/statistics/*.ts',
  'test/lab/random.ts',
  'test/lab/grid/{experiment,measure,play,population,rules}.ts',
]

const digest = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 16)

/** These are made from decisions, for readers or for plans, and have no part in the results. */
const exclude = [
  'server/analysis/{answer,csv,digest,documented,engine,format-[0-9],markdown,report*,sentences,series,snake-case,upgrade}.ts',
  'server/analysis/{value-warnings,warnings}.ts',
  'server/statistics/{power*,run-time}.ts',
]

/** Computes a digest of all code that has a part in the results. */
export function codeDigest(): string {
  const files = SOURCES.flatMap((pattern) => globSync(pattern, { cwd: ROOT, exclude })).sort()
  return digest(files.map((file) => readFileSync(new URL(file, ROOT), 'utf8')).join('\n'))
}

/** Names a cell by its name and all its conditions. */
export const keyOf = ({ group, name, conditions, methods, runs }: Cell) =>
  `${group}: ${name} #${digest(JSON.stringify([conditions, methods, runs]))}`

/** Computes the seed of a part of a cell. The same cell has the same seeds in every run of the grid. */
export const seedOf = (cell: Cell, part: number) => (Number.parseInt(digest(keyOf(cell)).slice(0, 8), 16) + part) | 0

/** Reads the stored results; null where there are none. */
export function readResults(): GridResults | null {
  return existsSync(FILE) ? (JSON.parse(readFileSync(FILE, 'utf8')) as GridResults) : null
}

/** Returns the stored results of the present code, or none. */
export function resumeResults(): GridResults {
  const code = codeDigest()
  const stored = readResults()
  return stored?.code === code ? stored : { engine: ENGINE_VERSION, code, cells: {} }
}

/** Writes one line for each cell. */
export function writeResults({ engine, code, cells }: GridResults) {
  const lines = Object.entries(cells).map(([key, result]) => `  ${JSON.stringify(key)}: ${JSON.stringify(result)}`)
  writeFileSync(FILE, `{"engine": "${engine}", "code": "${code}", "cells": {\n${lines.join(',\n')}\n}}\n`)
}
