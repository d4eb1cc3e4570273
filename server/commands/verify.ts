import { verifyTotals } from '../totals/verify.ts'
import { runCommand } from './database.ts'

/**
 * `npm run verify` compares all totals with the raw rows and prints the first difference. It is safe while the platform
 * runs.
 */
await runCommand(async (orm) => {
  const difference = await verifyTotals(orm.em.fork())
  console.log(difference ?? 'All totals agree with the raw rows')
  return difference === null
})
