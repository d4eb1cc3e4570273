import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { compare } from './compare.ts'
import { answer, isMethod } from './methods.ts'
import { FIXTURE } from './vectors.ts'

/**
 * `npm run verify:statistics -- [FILE]` computes every case of a file of reference vectors, and prints per group how
 * many are as expected. It exits with 1 if one is not, or if a group is unknown.
 */

const vectorFile = z.object({
  comparison: z.object({ relative_only: z.array(z.string()) }),
  groups: z.array(
    z.object({
      group: z.string(),
      what: z.string().default(''),
      cases: z.array(
        z.object({
          name: z.string(),
          input: z.unknown(),
          expected: z.record(z.string(), z.unknown()),
          tolerance: z.number(),
          abs_tolerance: z.number().optional(),
          source: z.string().default(''),
        }),
      ),
    }),
  ),
})
/** The number of failures that are described in each group. */
const MAX_SHOWN = 5

function readVectors(file: string) {
  try {
    return vectorFile.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch (error) {
    const message = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message
    console.error(`${file} cannot be read as reference vectors: ${message.slice(0, 500)}`)
    process.exit(1)
  }
}

const vectors = readVectors(process.argv[2] ?? FIXTURE)
let passed = 0
let failed = 0
for (const { group, cases } of vectors.groups) {
  if (!isMethod(group)) {
    failed += cases.length
    console.log(`${group.padEnd(26)} 0/${cases.length}  unknown group`)
    process.exitCode = 1
    continue
  }
  let worst = 0
  const failures: string[] = []
  for (const reference of cases) {
    const { mismatches, worstRelativeError } = verdictOf(group, reference)
    worst = Math.max(worst, worstRelativeError)
    if (mismatches.length > 0) failures.push(`  ${reference.name}: ${mismatches.slice(0, 3).join('; ')}`)
  }
  const right = cases.length - failures.length
  passed += right
  failed += failures.length
  console.log(`${group.padEnd(26)} ${right}/${cases.length}  worst relative error ${worst.toExponential(1)}`)
  for (const failure of failures.slice(0, MAX_SHOWN)) console.log(failure)
  if (failures.length > MAX_SHOWN) console.log(`  and ${failures.length - MAX_SHOWN} more`)
}
console.log(`${passed} passed, ${failed} failed`)
if (failed > 0) process.exitCode = 1

function verdictOf(group: Parameters<typeof answer>[0], reference: Parameters<typeof compare>[1]) {
  try {
    return compare(answer(group, reference.input), reference, vectors.comparison.relative_only)
  } catch (error) {
    return { mismatches: [`throws ${(error as Error).message}`], worstRelativeError: 0 }
  }
}
