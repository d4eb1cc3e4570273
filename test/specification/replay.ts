import { isDeepStrictEqual } from 'node:util'
import { type Example, examples } from './examples.ts'
import { faultsOf, type Shape, shapes } from './shapes.ts'

export type Replayed = { title: string; request: string; status: number; answer: unknown; faults: string[] }

export type ReplayOptions = {
  /** True adds a slash to the end of every path. */
  slash: boolean
  /** Is appended to unique names and addresses, so that the examples can be replayed again on the same database. */
  suffix?: string
  /** True adds a second variant with the rest of the allocation, so that the experiment can start. */
  treatment?: boolean
  /** The token for the management of keys, which a server with KEY_MANAGEMENT=admin needs. */
  adminToken?: string | undefined
}

type Ids = {
  experiment_id?: number
  variant_id?: number
  segment_id?: number
  key_id?: number
  user_id: string
}
type Send = (method: string, path: string, body: unknown, token: string | undefined) => Promise<Answer>
type Answer = { status: number; body: unknown }

/**
 * Sends every example of the specification to a running server, in the document's order, and compares the status and
 * the shape of the answers. Ids come from earlier answers. From a shell: `node test/specification/replay.ts
 * http://127.0.0.1:8000`.
 */
export async function replay(
  url: string,
  options: ReplayOptions,
  report?: (replayed: Replayed) => void,
): Promise<Replayed[]> {
  const send = sender(url)
  const suffix = options.suffix ?? ''
  const known = `user_12345${suffix}`
  const ids: Ids = { user_id: known }
  let token: string | undefined

  /** Creates what the document assumes to exist before this example. */
  async function prepare({ title }: Example) {
    if (title === 'Remove a key') {
      const { body } = await send('POST', '/api/auth/keys', { name: 'to be removed' }, options.adminToken)
      ids.key_id = (body as { id: number }).id
    }
    if (title !== 'Check Experiment Eligibility and Get Variant') return
    const person = { id: known, first_name: 'Jane', last_name: 'Doe', email: `jane.doe${suffix}@example.com` }
    await send('POST', '/api/users', person, token)
    if (options.treatment) {
      const treatment = { name: 'treatment', percent_allocated: 40 }
      await send('POST', `/api/experiments/${ids.experiment_id}/variants`, treatment, token)
    }
  }

  /** Keeps the ids and the key of an answer for later examples. */
  function keepIds({ title }: Example, answer: unknown) {
    const { id, key } = (answer ?? {}) as { id: never; key: string }
    if (title === 'Create an API key') token = key
    if (title === 'Create an Experiment') ids.experiment_id = id
    if (title === 'Add an Experiment Variant') ids.variant_id = id
    if (title === 'Create a Segment') ids.segment_id = id
    if (title === 'Create a User') ids.user_id = id
    if (title === 'Delete User') ids.user_id = known
  }

  const all: Replayed[] = []
  for (const example of examples) {
    await prepare(example)
    const path = pathOf(example, ids, options.slash)
    const sent = example.sent && bodyOf(example, ids, suffix)
    const { status, body } = await send(example.method, path, sent, example.keyed ? token : options.adminToken)
    keepIds(example, body)
    const faults = status === 200 ? [...faultsOf(body, example.response), ...echoFaults(example, sent, body)] : []
    if (status !== 200) faults.push(`status ${status}: ${JSON.stringify(body)}`)
    const replayed = { title: example.title, request: `${example.method} ${path}`, status, answer: body, faults }
    report?.(replayed)
    all.push(replayed)
  }
  return all
}

function sender(url: string): Send {
  return async (method, path, body, token) => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        'content-type': 'application/json',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    try {
      return { status: response.status, body: JSON.parse(text) }
    } catch {
      return { status: response.status, body: text }
    }
  }
}

function pathOf({ route }: Example, ids: Ids, slash: boolean): string {
  const [, path = ''] = route.split(' ')
  const filled = path.replace(/\{(\w+)\}/g, (_all, field: keyof Ids) => encodeURIComponent(String(ids[field])))
  return `${filled.replace(/\/$/, '')}${slash ? '/' : ''}`
}

/** The body of an example with the ids of this replay. On a fresh database they equal those of the document. */
function bodyOf({ route, sent }: Example, ids: Ids, suffix: string): Record<string, unknown> {
  const body = { ...sent }
  for (const [field, id] of Object.entries(ids)) if (field in body) body[field] = id
  if (body.experiment_ids) body.experiment_ids = [0, 1, 2].map((step) => (ids.experiment_id ?? 1) + step)
  if (/ \/api\/(experiments|segments)$/.test(route) && body.name) body.name += suffix
  if (typeof body.email === 'string') body.email = body.email.replace('@', `${suffix}@`)
  return body
}

/** Lists documented fields that were sent and did not come back with the same value. */
function echoFaults({ response }: Example, sent: Record<string, unknown> | undefined, answer: unknown): string[] {
  const shape: Shape = typeof response === 'string' ? ((shapes as Record<string, Shape>)[response] ?? {}) : {}
  const given = answer as Record<string, unknown>
  return Object.entries(sent ?? {})
    .filter(([field, value]) => field in shape && !isDeepStrictEqual(given[field], value))
    .map(([field, value]) => `answer.${field} is ${JSON.stringify(given[field])}, sent ${JSON.stringify(value)}`)
}

if (import.meta.main) {
  const [url = 'http://127.0.0.1:8000'] = process.argv.slice(2)
  let failed = 0
  let passed = 0
  for (const slash of [false, true]) {
    const suffix = `_${Date.now().toString(36)}${slash ? 's' : ''}`
    await replay(url, { slash, suffix, treatment: true, adminToken: process.env.ADMIN_TOKEN }, (replayed) => {
      const { title, request, status, faults } = replayed
      console.log(`${faults.length === 0 ? 'ok  ' : 'FAIL'} ${status} ${request}  ${title}`)
      for (const fault of faults) console.log(`       ${fault}`)
      if (faults.length === 0) passed++
      else failed++
    })
  }
  console.log(`\n${passed} passed, ${failed} failed`)
  process.exitCode = failed === 0 ? 0 : 1
}
