import { once } from 'node:events'
import { createClient } from '../index.ts'
import { type PlatformProcess, startPlatform } from './platform-process.ts'
import { createProgress, printDecisions, printEvents, printResults } from './report.ts'
import {
  countEvents,
  createUsers,
  decideAll,
  defineExperiment,
  handPick,
  makePeople,
  recordEvents,
  USERS,
} from './simulation.ts'

/**
 * `npm run demo` starts a platform that keeps everything in memory, sends two thousand simulated users through an
 * experiment, prints the results, and keeps the platform running until Ctrl-C. With `--exit` it ends after printing.
 */

const begun = performance.now()
const interrupted = Promise.race(['SIGINT', 'SIGTERM', 'SIGHUP'].map((signal) => once(process, signal)))
console.log('Starting a platform …')
try {
  const platform = await Promise.race([startPlatform(), interrupted.then(() => null)])
  if (!platform) process.exit(1)
  try {
    await Promise.race([runExperiment(platform), interrupted])
    if (!process.argv.includes('--exit')) await Promise.race([interrupted, platform.ended])
  } finally {
    await platform.stop()
  }
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}

async function runExperiment({ url, addresses, inMemory }: PlatformProcess) {
  const open = createClient({ url, apiKey: process.env.ADMIN_TOKEN })
  const { key } = await open.auth.createKey.mutate({ name: 'demo' })
  const client = createClient({ url, apiKey: key })

  const { experiment, betaTesters } = await defineExperiment(client)
  console.log(`Experiment "${experiment.name}": control 70 %, treatment 30 %, for US premium users and beta testers`)
  const people = makePeople(`demo-${experiment.id}`)
  const progress = createProgress()
  await createUsers(client, people, progress)
  await handPick(client, people, betaTesters.id, progress)
  const decisions = await decideAll(client, people, experiment.id, 'Deciding', progress)
  await recordEvents(client, people, decisions, experiment.id, progress)
  const again = await decideAll(client, people, experiment.id, 'Asking again', progress)

  const { variants } = await client.experiments.get.query({ experiment_id: experiment.id })
  printDecisions(people, decisions, again, variants)
  printEvents(await countEvents(client, experiment.id))
  printResults(await client.results.get.query({ experiment_id: experiment.id }))

  const seconds = ((performance.now() - begun) / 1000).toFixed(1)
  console.log(`\n${USERS.toLocaleString('en')} users in ${seconds} s, including the start of the platform.`)
  if (process.argv.includes('--exit')) return
  console.log(`\nThe platform stays up until Ctrl-C${inMemory ? ', which deletes its data' : ''}:`)
  console.log(addresses.join('\n'))
  console.log(
    `  results    curl -X POST ${url}/api/experiments/${experiment.id}/results -H 'Authorization: Bearer ${key}'`,
  )
}
