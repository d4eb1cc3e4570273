import { parseArgs } from 'node:util'
import { survive } from './survive/work.ts'

/**
 * `node test/promises/events-survive.ts --kills 24 --seed 1` tests the second promise on two processes with their own
 * PostgreSQL and Redis. It ends with exit code 1 and the details if an event is lost, doubled or miscounted, or a
 * decision flips.
 */
const { values } = parseArgs({
  options: { kills: { type: 'string', default: '24' }, seed: { type: 'string', default: '1' } },
})
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))
const { lines, faults } = await survive({ kills: Number(values.kills), seed: Number(values.seed) })
for (const line of lines) console.log(line)
for (const fault of faults.slice(0, 20)) console.error(`\n${fault}`)
process.exitCode = faults.length > 0 ? 1 : 0
