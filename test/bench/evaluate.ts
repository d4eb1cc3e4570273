import { fork } from 'node:child_process'
import { once } from 'node:events'
import { median } from 'simple-statistics'
import { isTargeted, makeUsers } from './evaluators/question.ts'
import { machine, readOptions, round, writeResult } from './report.ts'

const HELP = `npm run bench -- evaluate [options]

How much CPU time does the pure decision of one experiment take, compared with other products' evaluation?
Two conditions (country in a list of 8, premium) and two equal variants, drawn by the user's id, without I/O.
Each evaluator has its own process.

  --rounds 15     in each round every evaluator in turn decides for all users
  --passes 20     passes over the users per round
  --users 8192`

const DEFAULTS = { rounds: 15, passes: 20, users: 8192 }
const WARM_UP_PASSES = 60

/** The rows of the table, and the arguments of `evaluators/process.ts`. */
const EVALUATORS: [title: string, name: string, purpose: 'decides' | 'hashes'][] = [
  ['the platform', 'platform', 'decides'],
  ['@growthbook/growthbook', 'growthbook', 'decides'],
  ['unleash-client', 'unleash', 'decides'],
  ['@openfeature/flagd-core', 'flagd', 'decides'],
  ['SHA-256 alone, crypto.hash', 'one-shot', 'hashes'],
  ['SHA-256 alone, createHash', 'hash-object', 'hashes'],
]

type Evaluator = { title: string; time: (passes: number) => Promise<number>; stop: () => void }

export async function benchEvaluate(args: string[]): Promise<void> {
  const options = readOptions(args, HELP, DEFAULTS)
  if (!options) return
  const evaluators: Evaluator[] = []
  try {
    for (const [title, name, purpose] of EVALUATORS)
      evaluators.push(await startEvaluator(title, [name, String(options.users), purpose]))
    for (const { time } of evaluators) await time(WARM_UP_PASSES)
    const nanos = evaluators.map((): number[] => [])
    for (let round = 1; round <= options.rounds; round++)
      for (const [index, { time }] of evaluators.entries()) nanos[index]?.push(await time(options.passes))

    const [platform = []] = nanos
    const summary = nanos.map((times, index) => ({
      evaluator: evaluators[index]?.title,
      'CPU ns/decision': Math.round(median(times)),
      least: Math.round(Math.min(...times)),
      'of the platform': round(median(times.map((time, round) => time / (platform[round] as number))), 2),
    }))
    const targeted = makeUsers(options.users).filter(isTargeted).length
    console.log(
      `\nOne experiment, two conditions, two halves: ${options.users} users in turn, ` +
        `${Math.round((100 * targeted) / options.users)} % of them targeted; ` +
        `${options.rounds} rounds of ${options.passes} passes, medians`,
    )
    console.table(summary)
    writeResult('evaluate', { options, machine: machine(), summary, nanos })
  } finally {
    for (const { stop } of evaluators) stop()
  }
}

async function startEvaluator(title: string, args: string[]): Promise<Evaluator> {
  // Without this, GrowthBook logs every decision.
  const env = { ...process.env, NODE_ENV: 'production' }
  const child = fork(new URL('./evaluators/process.ts', import.meta.url), args, { env })
  const ended = once(child, 'exit').then(() => {
    throw new Error(`${title} ended`)
  })
  ended.catch(() => {})
  const answer = async () => {
    const [message] = await Promise.race([once(child, 'message'), ended])
    return message
  }
  await answer()
  return {
    title,
    time: (passes) => {
      child.send(passes)
      return answer()
    },
    stop: () => void child.kill(),
  }
}
