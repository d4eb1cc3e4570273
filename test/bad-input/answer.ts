import { ERROR_CODES } from '../support/api.ts'
import type { BadRequest, Expected } from './request.ts'
import type { Reply } from './send.ts'

type Issue = { path: (string | number)[]; message: string }
type Fault = { message?: unknown; code?: unknown; issues?: Issue[] }

/** Matches sentences that zod writes for its developers. */
const ZOD_TEXT =
  /Invalid (option|value|key|discriminator|string|number)|Too (small|big)|expected \w+, received|(Invalid input.*){2}/

/** Describes the first fault of an answer to a bad request. @returns null if the answer is right */
export function faultOfAnswer({ answer }: Pick<BadRequest, 'answer'>, reply: Reply): string | null {
  if (!isExpected(answer, reply.status)) return `status ${reply.status} instead of ${answer.status}`
  const body = parsed(reply.body)
  if (answer.rejected) return faultOfBatch(answer, body)
  if (!reply.type.startsWith('application/json')) return `content type ${reply.type}`
  const { message, code, issues, ...more } = body as Fault
  if (typeof message !== 'string' || message === '') return 'no message'
  if (code !== (ERROR_CODES[reply.status] ?? code) || typeof code !== 'string') return `code ${code}`
  if (Object.keys(more).length > 0) return `undocumented fields: ${Object.keys(more)}`
  if (ZOD_TEXT.test(reply.body)) return 'a text of zod'
  if (/node_modules|\.ts:\d|select |insert into/.test(reply.body)) return 'the body shows internals of the server'
  return faultOfIssues(answer, issues)
}

const isExpected = ({ status }: Expected, given: number) =>
  typeof status === 'number' ? status === given : status.includes(given)

function faultOfIssues({ issue }: Expected, issues: Issue[] | undefined): string | null {
  if (issues !== undefined && !issues.every(isIssue)) return 'issues of another shape'
  const paths = (issues ?? []).map(({ path }) => path.join('.'))
  if (new Set(paths).size < paths.length) return 'two sentences for one fault'
  if (!issue) return null
  const named = issues?.some(({ path }) => issue.every((step, index) => path[index] === step))
  return named ? null : `issues do not name ${issue.join('.')}`
}

const isIssue = ({ path, message, ...more }: Issue) =>
  Array.isArray(path) && typeof message === 'string' && Object.keys(more).length === 0

function faultOfBatch(answer: Expected, body: unknown): string | null {
  const { accepted, rejected, results } = body as {
    accepted: number
    rejected: number
    results: { issues?: Issue[] }[]
  }
  if (accepted !== 0 || rejected !== 1) return `accepted ${accepted}, rejected ${rejected}`
  return faultOfIssues(answer, results[0]?.issues)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) ?? {}
  } catch {
    return {}
  }
}

/** Creates a tally that counts requests and answers, and keeps the wrong answers. */
export function createTally() {
  const kinds = new Map<string, { count: number; statuses: Map<number, number> }>()
  const routes = new Map<string, number>()
  const wrong = new Map<string, { count: number; example: string }>()
  let total = 0
  return {
    add(sent: BadRequest, reply: Reply) {
      total++
      const name = sent.kind.replace(/ \(in a .*/, '')
      const kind = kinds.get(name) ?? { count: 0, statuses: new Map() }
      kind.count++
      kind.statuses.set(reply.status, (kind.statuses.get(reply.status) ?? 0) + 1)
      kinds.set(name, kind)
      routes.set(sent.route, (routes.get(sent.route) ?? 0) + 1)
      const fault = faultOfAnswer(sent, reply)
      if (fault === null) return
      const where = `${sent.route}: ${sent.kind}: ${fault}`
      const example = `${sent.method} ${sent.path} ${String(sent.body ?? '').slice(0, 300)} -> ${reply.body.slice(0, 300)}`
      wrong.set(where, { count: (wrong.get(where)?.count ?? 0) + 1, example })
    },
    total: () => total,
    wrong: () => [...wrong].map(([where, { count, example }]) => `${where} (${count} times), such as ${example}`),
    /** Writes a line per kind, with its count and statuses, and then the counts per route. */
    table() {
      const statuses = (counts: Map<number, number>) =>
        [...counts].map(([status, count]) => `${status}×${count}`).join(' ')
      const rows = [...kinds].sort(([a], [b]) => a.localeCompare(b))
      const lines = rows.map(
        ([kind, { count, statuses: counts }]) => `${String(count).padStart(6)}  ${kind.padEnd(52)} ${statuses(counts)}`,
      )
      const byRoute = [...routes].map(([route, count]) => `${route} ${count}`).join(', ')
      return `${total} bad requests\n${lines.join('\n')}\nby route: ${byRoute}`
    },
  }
}
