import { parseArgs } from 'node:util'
import { administer, databaseUrl } from '../support/services.ts'
import { work } from './scale/driver.ts'

/**
 * `node test/promises/never-flips-at-scale.ts --operations 1000000 --restarts 100 --seed 1` tests the first promise on
 * PostgreSQL and a Redis of its own. At the first flip it ends with exit code 1 and the details.
 */
const { values } = parseArgs({
  options: {
    operations: { type: 'string', default: '1000000' },
    restarts: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
  },
})
const [operations, restarts, seed] = [values.operations, values.restarts, values.seed].map(Number) as [
  number,
  number,
  number,
]
const name = `never_flips_${process.pid}`
const beganAt = performance.now()
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))
await administer(`create database ${name}`)
try {
  const outcome = await work({ databaseUrl: databaseUrl(name), operations, restarts, seed, onProgress: console.log })
  console.log('\nAn operation is a decision (a check makes one per experiment that it names) or another call:')
  for (const line of outcome.lines) console.log(line)
  for (const fault of [...outcome.flips, ...outcome.breaches].slice(0, 20)) console.error(`\n${fault}`)
  console.log(`\n${outcome.breaches.length} breaches of a layer or a holdout`)
  console.log(`\nseed ${seed}, ${((performance.now() - beganAt) / 60_000).toFixed(1)} minutes`)
  console.log(`${outcome.operations} operations, ${outcome.restarts} restarts, ${outcome.flips.length} flips`)
  process.exitCode = outcome.flips.length + outcome.breaches.length > 0 ? 1 : 0
} finally {
  await administer(`drop database if exists ${name} with (force)`)
}
