import { type BenchUser, type Decide, isTargeted, makeUsers } from './question.ts'

/** Runs one evaluator in a process of its own. The answer to a number of passes is the CPU time of one decision. */
const makers: Record<string, () => Promise<(users: readonly BenchUser[]) => Decide>> = {
  platform: async () => (await import('./platform.ts')).decideByPlatform,
  growthbook: async () => (await import('./growthbook.ts')).decideByGrowthBook,
  unleash: async () => (await import('./unleash.ts')).decideByUnleash,
  flagd: async () => (await import('./flagd.ts')).decideByFlagd,
  'one-shot': async () => (await import('./sha256.ts')).sha256InOneShot,
  'hash-object': async () => (await import('./sha256.ts')).sha256ByObject,
}
/** A variant may differ from half of the users by this number times √users, which is five standard deviations. */
const TOLERANCE = 2.5

const [name = '', count, purpose] = process.argv.slice(2)
const users = makeUsers(Number(count))
const decide = (await makers[name]?.())?.(users) as Decide
if (purpose === 'decides') check()

/** @throws Error if the evaluator leaves out other users than it should, or does not halve the rest */
function check() {
  const counts = { control: 0, treatment: 0 }
  for (const [index, user] of users.entries()) {
    const variant = decide(index)
    if ((variant !== null) !== isTargeted(user)) throw new Error(`${name} gives ${variant} to ${JSON.stringify(user)}`)
    if (variant === 'control' || variant === 'treatment') counts[variant]++
    else if (variant !== null) throw new Error(`${name} gives an unknown variant ${variant}`)
  }
  const { control, treatment } = counts
  if (Math.abs(control - treatment) / 2 > TOLERANCE * Math.sqrt(control + treatment))
    throw new Error(`${name} does not halve the users: ${JSON.stringify(counts)}`)
}

/**
 * Measures the CPU time of a decision. The time includes garbage collection in other threads of this process, but not
 * the work of other processes.
 * @returns nanoseconds per decision
 */
function time(passes: number): number {
  let decided = 0
  const before = process.cpuUsage()
  for (let pass = 0; pass < passes; pass++)
    for (let user = 0; user < users.length; user++) if (decide(user) !== null) decided++
  const { user, system } = process.cpuUsage(before)
  if (decided === 0) throw new Error('No user got a variant')
  return ((user + system) * 1000) / (passes * users.length)
}

process.on('message', (passes: number) => process.send?.(time(passes)))
process.on('disconnect', () => process.exit())
process.send?.('ready')
