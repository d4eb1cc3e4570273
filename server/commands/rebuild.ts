import { rebuildTotals } from '../totals/rebuild.ts'
import { runCommand } from './database.ts'

/** `npm run rebuild` computes all totals again from the raw rows. It is safe while the platform runs. */
await runCommand(async (orm) => {
  const began = performance.now()
  let users = 0
  await rebuildTotals(orm, (done) => {
    users = done
    if (process.stdout.isTTY) process.stdout.write(`\r${done} users`)
  })
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  console.log(`${process.stdout.isTTY ? '\r' : ''}All totals were rebuilt: ${users} users in ${seconds} s`)
  return true
})
