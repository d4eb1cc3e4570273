import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { answer } from '../analysis/answer.ts'
import type { RunStatistics } from '../analysis/statistics.ts'

/**
 * `npm run verify:result -- FILE`: computes a frozen answer again from the sufficient statistics that were kept with it, and
 * prints the first figure that is another one. Needs no database; FILE is what `POST …/results/frozen` answers.
 */
const [file] = process.argv.slice(2)
if (!file)
  fail('Which file? npm run verify:result -- FILE, as POST /api/experiments/{experiment_id}/results/frozen answers it')
else verify(file)

function verify(file: string) {
  let kept: { statistics: RunStatistics; answer: unknown }
  try {
    kept = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    return fail(`${file} cannot be read as JSON: ${(error as Error).message}`)
  }
  if (!kept.statistics?.question || !kept.answer)
    return fail(`${file} holds no frozen result: statistics and answer are needed`)
  let again: unknown
  try {
    again = JSON.parse(JSON.stringify(answer(kept.statistics)))
  } catch (error) {
    return fail(`The statistics in ${file} cannot be analysed: ${(error as Error).message}`)
  }
  const difference = findDifference(again, kept.answer, 'answer')
  const { engine_version, run, experiment } = kept.statistics
  if (difference) return fail(`${difference} (kept by engine ${engine_version})`)
  console.log(
    `The answer of run ${run} of experiment ${experiment.id} (${experiment.name}) is what its statistics say: engine ${engine_version}, data through ${kept.statistics.data_through}`,
  )
}

function fail(message: string) {
  console.error(message)
  process.exitCode = 1
}

/** @returns the path of the first difference and both values, in words */
function findDifference(computed: unknown, kept: unknown, path: string): string | null {
  if (isDeepStrictEqual(computed, kept)) return null
  const isBranch = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null
  if (!isBranch(computed) || !isBranch(kept))
    return `${path}: computed ${JSON.stringify(computed)}, kept ${JSON.stringify(kept)}`
  for (const key of new Set([...Object.keys(computed), ...Object.keys(kept)])) {
    const found = findDifference(computed[key], kept[key], `${path}.${key}`)
    if (found) return found
  }
  return null
}
