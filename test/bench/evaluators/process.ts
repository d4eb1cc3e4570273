import { type BenchUser, type Decide, isTargeted, makeUsers } from './question.ts'

/** One evaluator in a process of its own: it answers each number of passes with the CPU time of one decision. */
const makers: Record<string, () => Promise<(users: readonly BenchUser[]) => Decide>> = {
  platform: async () => (await import('./platform.ts')).decideByPlatform,
  growthbook: async () => (await import('./growthbook.ts')).decideByGrowthBook,
  unleash: async () => (await import('./unleash.ts')).decideByUnleash,
  flagd: async () => (await import('./flagd.ts')).decideByFlagd,
  'one-shot': async () => (await import('./sha256.ts')).sha256InOneShot,
  'hash-object': async () => (await import('./sha256.ts')).sha256ByObject,
}
/** By how much a half may miss half of the users: five standard deviations. */
const TOLERANCE = 2.5

const [name = '', count, purpose] = process.argv.slice(2)
const users = makeUsers(Number(count))
const decide = (await makers[name]?.())?.(users) as Decide
if (purpose === 'decides') check()

/** @throws where it leaves out anybody else than it should, or does not make two halves of the others */
function check() {
  const counts = { control: 0, treatment: 0 }
  for (const [index, user] of users.entries()) {
    const variant = decide(index)
    if ((variant !== null) !== isTargeted(user)) throw new Error(`${name} says ${variant} of ${JSON.stringify(user)}`)
    if (variant === 'control' || variant === 'treatment') counts[variant]++
    else if (variant !== null) throw new Error(`${name} knows a variant ${variant}`)
  }
  const { control, treatment } = counts
  if (Math.abs(control - treatment) / 2 > TOLERANCE * Math.sqrt(control + treatment))
    throw new Error(`${name} made no halves: ${JSON.stringify(counts)}`)
}

/** @returns nanoseconds of CPU time per decision, of all threads: with its garbage's, without the machine's neighbours' */
function time(passes: number): number {
  let given = 0
  const before = process.cpuUsage()
  for (let pass = 0; pass < passes; pass++)
    for (let user = 0; user < users.length; user++) if (decide(user) !== null) given++
  const { user, system } = process.cpuUsage(before)
  if (given === 0) throw new Error('Nobody was given a variant')
  return ((user + system) * 1000) / (passes * users.length)
}

process.on('message', (passes: number) => process.send?.(time(passes)))
process.on('disconnect', () => process.exit())
process.send?.('ready')
