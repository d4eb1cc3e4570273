import { readFileSync } from 'node:fs'
import { answer } from '../analysis/answer.ts'
import { digestOf } from '../analysis/digest.ts'
import { ENGINE_VERSION } from '../analysis/engine.ts'
import { snakeCased } from '../analysis/snake-case.ts'
import type { RunStatistics } from '../analysis/statistics.ts'
import { type Stored, upgrade } from '../analysis/upgrade.ts'
import { type Difference, findDifferences, isOfAllEngines } from './answer-differences.ts'

/**
 * `npm run verify:result -- FILE…` checks frozen answers without a database. FILE holds the answer of
 * `POST …/results/frozen`: statistics, the answer computed from them, and a digest of both.
 *
 * - The digest shows that nothing was changed since the run was frozen.
 * - If this version of the engine froze the run, the answer is computed again, and every figure must be equal.
 * - If another version did, its rules may have been others. The answer stands; what this version computes from the same
 *   statistics is printed beside what was answered, and is no fault. Without a digest (versions before 0.2 stored none),
 *   the figures that all versions compute alike must be equal: counts, levels, and in runs of one allocation period the
 *   documented figures. The command says that it could not check the others.
 *
 * A sentence that is worded otherwise now is never a fault; both sentences are printed.
 */
type Kept = { statistics: Stored & { question?: unknown }; answer: { engine_version?: string }; digest?: string | null }

function verify(file: string) {
  let kept: Partial<Kept>
  try {
    kept = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    return fail(`${file} cannot be read as JSON: ${(error as Error).message}`)
  }
  if (!kept.statistics?.question || !kept.answer)
    return fail(`${file} holds no frozen result: statistics and answer are needed`)
  try {
    const statistics = upgrade(kept.statistics)
    const computed = JSON.parse(JSON.stringify(snakeCased(answer(statistics))))
    compare(file, kept as Kept, statistics, computed)
  } catch (error) {
    return fail(`The statistics in ${file} cannot be analysed: ${(error as Error).message}`)
  }
}

function compare(file: string, kept: Kept, statistics: RunStatistics, computed: unknown) {
  const engine = kept.answer.engine_version ?? 'unknown'
  const isOther = engine !== ENGINE_VERSION
  const isSealed = kept.digest != null && kept.digest === digestOf(kept)
  const differences = findDifferences(computed, kept.answer, isOther)
  const figures = differences.filter(({ isSentence }) => !isSentence)
  const mustAgree = ({ path }: Difference) => !isOther || (!isSealed && isOfAllEngines(path, statistics.periods.length))
  const fault = figures.find(mustAgree)
  if (fault) return fail(`${inWords(fault)} (kept by engine ${engine})`)
  if (kept.digest != null && !isSealed)
    return fail(`${file} was changed after the run was frozen: statistics and answer do not have its digest`)
  for (const difference of differences)
    console.log(`${difference.isSentence ? 'Worded otherwise' : 'By other rules'} now, ${inWords(difference)}`)
  console.log(conclusion(kept, statistics, isOther, figures.length))
}

function conclusion(kept: Kept, statistics: RunStatistics, isOther: boolean, figures: number): string {
  const { engineVersion, run, experiment, dataThrough } = statistics
  const subject = `The answer of run ${run} of experiment ${experiment.id} (${experiment.name})`
  const source = `engine ${engineVersion}, data through ${dataThrough}`
  if (!isOther) return `${subject} is what its statistics say: ${source}`
  const count = figures === 1 ? '1 figure' : `${figures} figures`
  const now = figures === 0 ? 'computes the same figures' : `computes ${count} otherwise, printed above`
  return kept.digest
    ? `${subject} is as it was frozen, by its digest: ${source}. Engine ${ENGINE_VERSION} ${now}`
    : `${subject} agrees with its statistics in the figures that all engines compute alike: ${source}. It has no ` +
        `digest, so that other figures cannot be checked. Engine ${ENGINE_VERSION} ${now}`
}

const inWords = ({ path, computed, stored }: Difference) =>
  `${path}: computed ${JSON.stringify(computed)}, kept ${JSON.stringify(stored)}`

function fail(message: string) {
  console.error(message)
  process.exitCode = 1
}

const files = process.argv.slice(2)
if (files.length === 0)
  fail('Which file? npm run verify:result -- FILE, as POST /api/experiments/{experiment_id}/results/frozen answers it')
for (const file of files) verify(file)
