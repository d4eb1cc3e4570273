import { readFileSync } from 'node:fs'

const POLL_MS = 1000

/**
 * Calls back once when npm, which started this process by `npm start`, has ended. npm passes a signal to nobody if it is
 * killed itself, and the platform would go on and hold its port. Does nothing for a process that npm did not start.
 */
export function onParentEnd(environment: Record<string, string | undefined>, ended: () => void) {
  if (environment.npm_lifecycle_event !== 'start') return
  const [parent, above] = ancestors()
  if (parent === 1) return
  const poll = setInterval(() => {
    const [now, aboveNow] = ancestors()
    if (now === parent && aboveNow === above) return
    clearInterval(poll)
    ended()
  }, POLL_MS)
  poll.unref()
}

/** Gets the ids of the parent and of its parent: a shell may stand between npm and this process. */
const ancestors = (): [number, number | null] => [process.ppid, parentOf(process.ppid)]

/** Gets the parent of a process where the system tells (Linux); null elsewhere. */
function parentOf(pid: number): number | null {
  try {
    // The name of the program is in parentheses and may hold spaces: the parent comes after it and the state.
    const [, parent] = /\) \S (\d+) /.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? []
    return parent === undefined ? null : Number(parent)
  } catch {
    return null
  }
}
