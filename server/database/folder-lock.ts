import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { StartFault } from '../start-fault.ts'

/** The entries that a start which was interrupted leaves behind, or that a file system brings along. */
const OWN_ENTRIES = /^(postgres|holder\.txt|lock\.sqlite.*|lost\+found|\..*)$/

/**
 * Refuses to create a database in a folder that is missing or holds other files: its name may be mistyped, and an empty
 * database would look as if all experiments were gone.
 * @throws StartFault that says how to create the folder
 */
export function expectEmptyFolder(folder: string) {
  const found = statSync(folder, { throwIfNoEntry: false })
  if (found && !found.isDirectory())
    throw new StartFault(
      `${folder} is a file, and the embedded database needs a folder: correct DATABASE_URL, or name a new folder`,
    )
  if (!found && folder.startsWith('//'))
    throw new StartFault(
      `DATABASE_URL is pglite:${folder}, which names a folder at the root: write pglite:./${folder.replace(/^\/+/, '')} ` +
        `for a folder beside the platform, or pglite:${folder.replace(/^\/+/, '/')}, without // after the colon`,
    )
  if (!found)
    throw new StartFault(
      `There is no folder ${folder} for the embedded database: correct DATABASE_URL, or create the folder ` +
        `(mkdir ${folder}) to begin with an empty database`,
    )
  const other = readdirSync(folder).find((name) => !OWN_ENTRIES.test(name))
  if (other !== undefined)
    throw new StartFault(
      `The folder ${folder} holds no embedded database but other files, such as ${other}: correct DATABASE_URL, or ` +
        'name an empty folder to begin with an empty database',
    )
}

/**
 * Locks the folder of an embedded database for this process. Two processes on one folder would corrupt the database,
 * and PGlite does not prevent this. The lock is SQLite's exclusive file lock, which the kernel holds: it is released at
 * once when its process ends, also after kill -9.
 * @returns a function that releases the lock
 * @throws Error naming the process that holds the folder
 */
export function lockFolder(folder: string): () => void {
  mkdirSync(folder, { recursive: true })
  const holderFile = join(folder, 'holder.txt')
  const lock = new DatabaseSync(join(folder, 'lock.sqlite'))
  try {
    lock.exec('pragma busy_timeout = 0; pragma locking_mode = exclusive; begin exclusive')
  } catch (cause) {
    lock.close()
    const holder = readHolder(holderFile)
    throw new StartFault(
      `The embedded database in ${folder} is in use by ${holder}. One process at a time may open it: ` +
        'stop that process, or set DATABASE_URL to another folder or to PostgreSQL.',
      { cause },
    )
  }
  writeFileSync(holderFile, `process ${process.pid}, since ${new Date().toISOString()}`)
  return () => lock.close()
}

function readHolder(file: string) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return 'another process'
  }
}
