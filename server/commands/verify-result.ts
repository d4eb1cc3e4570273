import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { answer } from '../analysis/answer.ts'
import { snakeCased } from '../analysis/snake-case.ts'
import { FORMAT, type RunStatistics } from '../analysis/statistics.ts'
import { type Stored, upgrade } from '../analysis/upgrade.ts'

/**
 * `npm run verify:result -- FILE…` computes each frozen answer again from the sufficient statistics stored with it, in
 * any format, and prints the first figure that differs. A sentence that this engine words otherwise is not a
 * difference: the command prints both sentences. FILE holds the answer of `POST …/results/frozen`. The command needs no
 * database.
 */
function verify(file: string) {
  let kept: { statistics?: Stored & { question?: unknown }; answer?: unknown }
  try {
    kept = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    return fail(`${file} cannot be read as JSON: ${(error as Error).message}`)
  }
  if (!kept.statistics?.question || !kept.answer)
    return fail(`${file} holds no frozen result: statistics and answer are needed`)
  let statistics: RunStatistics
  let again: unknown
  try {
    statistics = upgrade(kept.statistics)
    again = JSON.parse(JSON.stringify(snakeCased(answer(statistics))))
  } catch (error) {
    return fail(`The statistics in ${file} cannot be analysed: ${(error as Error).message}`)
  }
  const { engineVersion, run, experiment, dataThrough } = statistics
  const isOlder = kept.statistics.format !== FORMAT
  const differences = findDifferences(again, kept.answer, 'answer', isOlder)
  const figure = differences.find(({ isSentence }) => !isSentence)
  if (figure) return fail(`${inWords(figure)} (kept by engine ${engineVersion})`)
  for (const sentence of differences) console.log(`Worded otherwise now, ${inWords(sentence)}`)
  console.log(
    `The answer of run ${run} of experiment ${experiment.id} (${experiment.name}) is what its statistics say: engine ${engineVersion}, data through ${dataThrough}`,
  )
}

function fail(message: string) {
  console.error(message)
  process.exitCode = 1
}

/** The fields of an answer that hold sentences. */
const SENTENCES = ['reason', 'reasons', 'warnings']

type Difference = { path: string; computed: unknown; kept: unknown; isSentence: boolean }

const inWords = ({ path, computed, kept }: Difference) =>
  `${path}: computed ${JSON.stringify(computed)}, kept ${JSON.stringify(kept)}`

/** @param isOlder an older engine gave the kept answer; fields that it did not know are no difference */
function findDifferences(computed: unknown, kept: unknown, path: string, isOlder: boolean): Difference[] {
  if (isDeepStrictEqual(computed, kept)) return []
  const isSentence = SENTENCES.some((name) => path.endsWith(`.${name}`))
  if (isSentence || !isBranch(computed) || !isBranch(kept)) return [{ path, computed, kept, isSentence }]
  const known = isOlder ? [] : Object.keys(computed)
  return [...new Set([...known, ...Object.keys(kept)])].flatMap((key) =>
    findDifferences(computed[key], kept[key], `${path}.${key}`, isOlder),
  )
}

const isBranch = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

const files = process.argv.slice(2)
if (files.length === 0)
  fail('Which file? npm run verify:result -- FILE, as POST /api/experiments/{experiment_id}/results/frozen answers it')
for (const file of files) verify(file)
