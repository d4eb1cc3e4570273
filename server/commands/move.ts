import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { MoveProgress } from '../database/move.ts'
import { shownUrl, urlFault } from '../database/url.ts'

const HELP = `npm run move -- --from pglite:./data --to postgres://user:password@host:5432/name

Copies a whole database into an empty one, from the embedded database to PostgreSQL. Stop the
platform first. A move that was interrupted goes on where it stopped when you start it again. At the end the rows of all
tables are counted and the totals are compared with the raw rows. The source is not changed, but that it is migrated to
this version.`

const CLEAR_LINE = '\r\x1b[K'

/** `npm run move` copies a whole database into an empty one. */
async function move(from: string, to: string): Promise<boolean> {
  const folder = from.startsWith('pglite:') ? from.slice('pglite:'.length) : null
  if (folder !== null && !existsSync(join(folder, 'postgres', 'PG_VERSION')))
    throw new Error(`There is no embedded database in ${folder}.`)
  const began = performance.now()
  say(`Moving ${shownUrl(from)} to ${shownUrl(to)} …`)
  // Loading these takes seconds, in which the first line is on the screen.
  const { openDatabase } = await import('../database/orm.ts')
  const { moveDatabase } = await import('../database/move.ts')
  const { verifyTotals } = await import('../totals/verify.ts')
  const source = await openDatabase({ url: from, pool: 2, queryTimeoutMs: 0 })
  try {
    const target = await openDatabase({ url: to, pool: 2, queryTimeoutMs: 0, createFolder: true })
    try {
      const moved = await moveDatabase(source, target, showProgress, say)
      const rows = moved.reduce((sum, { copied }) => sum + copied, 0)
      const seconds = ((performance.now() - began) / 1000).toFixed(1)
      say(`${rows} rows of ${moved.length} tables were copied in ${seconds} s; each table has as many as before`)
      say('Comparing the totals with the raw rows …')
      const difference = await verifyTotals(target.orm.em.fork())
      say(difference ?? 'All totals agree with the raw rows')
      return difference === null
    } finally {
      await target.close()
    }
  } finally {
    await source.close()
  }
}

/** Shows the rows of a table that are copied: in a terminal one line for all tables, else a line when one is done. */
function showProgress({ table, copied, rows }: MoveProgress) {
  const line = `${table}: ${copied} of ${rows} rows`
  if (process.stdout.isTTY) process.stdout.write(CLEAR_LINE + line)
  else if (copied === rows && rows > 0) console.log(line)
}

/** Prints a line, in a terminal in place of the progress. */
function say(message: string) {
  console.log(process.stdout.isTTY ? CLEAR_LINE + message : message)
}

/** @throws Error that names the option if its value is no URL of a database */
function expectUrl(option: string, url: string) {
  const fault = urlFault(url)
  if (fault !== null) throw new Error(`${option} ${fault}`)
}

try {
  const { values } = parseArgs({
    options: { from: { type: 'string' }, to: { type: 'string' }, help: { type: 'boolean', default: false } },
  })
  const { from, to, help } = values
  if (help) console.log(HELP)
  else if (!from || !to || from === to || [from, to].includes('pglite:'))
    throw new Error(`--from and --to take two databases, each as postgres://… or pglite:DIR\n\n${HELP}`)
  else {
    expectUrl('--from', from)
    expectUrl('--to', to)
    process.exitCode = (await move(from, to)) ? 0 : 1
  }
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}
